"""Targeted editing: a region of a picture becomes another class, and what lies beyond it stays (section 8)."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn

from cortex.app.edit_run import first_extractor, load_generator_of
from cortex.app.edit_sheet import draw_sheet, warnings_of
from cortex.app.region import check_region, most_important
from cortex.core.device import choose_device, one_thread
from cortex.core.errors import InputError
from cortex.core.files import replaceable, whole_file
from cortex.core.progress import progress
from cortex.core.provenance import provenance
from cortex.core.settings import WrongValueError
from cortex.data.packed import read_packed
from cortex.data.pixels import encode_image, fitted, read_image
from cortex.data.shard_reader import read_shard
from cortex.data.tokens import Tokens
from cortex.evaluate.codebook_level import edited_grids
from cortex.explain import TIS
from cortex.explain.codebook_search import prepare, search_part, token_selection
from cortex.explain.settings import Method, Region, SearchOptimisation
from cortex.extractors.names import split_name
from cortex.extractors.network import load_extractor
from cortex.generators.base import Generator
from cortex.generators.class_names import find_class
from cortex.judges.judge import Judge, load_judge
from cortex.report.figures.style import save_figure
from cortex.run import open_run

log = logging.getLogger(__name__)


class EditSettings(SearchOptimisation):
    """A target, a region, and the search for the region's tokens."""

    to: str = Field(description="index or name of the target class")
    region: tuple[int, int, int, int] | tuple[int, int] = Field(
        description="top, left, height and width of the region, in tokens; rows and columns count from 0. Or height "
        "and width alone: the region is where the picture's most important tokens are"
    )
    method: Method | None = Field(
        None,
        description="attribution that scores the tokens for a region of height and width alone, a registered name or "
        "module:function; tis if not given. It explains the picture's class, or the class that the extractor reads",
    )
    margin: Annotated[int, Field(ge=0)] = Field(
        1, description="tokens around the region over which the change fades out"
    )
    extractor: str | None = Field(
        None, description="extractor of the run to search with, cnn or cnn/0; the first one if not given"
    )

    @model_validator(mode="before")
    @classmethod
    def _interval_of_few_steps(cls, values: Any) -> Any:
        if isinstance(values, dict) and "record_every" not in values:
            steps = values.get("steps")
            if isinstance(steps, int) and steps < cls.model_fields["record_every"].default:
                return values | {"record_every": max(1, steps // 10)}
        return values

    @model_validator(mode="after")
    def _method_finds_the_place(self) -> "EditSettings":
        if self.method is not None and len(self.region) == 4:
            reason = "only with a --region of height and width, which it finds the place of"
            raise WrongValueError("method", self.method, reason)
        return self


def edit_image(
    output: Path,
    image: Path,
    run: Path,
    *,
    settings: EditSettings,
    key: str | None = None,
    generator: Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Change a region of a picture to another class by a codebook search with a run's extractor.

    The search keeps the recorded step of the highest target logit of the extractor. Judges take no part in the choice,
    so their readings are independent of it. In the decoder, every token influences every pixel. The new pixels are
    therefore used in the region only and fade out over the margin; beyond it, the picture stays the same. The result
    states the change that decoding alone would have made there.

    Args:
        output: folder to write: picture.png (as it came in), before.png (as its tokens show it), after.png, sheet.png
            (the three enlarged, with their tokens), and edit.json with the tokens before and after, every judge's
            reading of the three, warnings, and the settings.
        image: PNG, JPEG, WebP or TIFF file of any size, or a tar of a run together with a key.
        run: folder of a run, such as results/landuse, whose extractors, judges and generator are used.
        settings: target, region and search.
        key: key of the image in the tar.
        generator: weights file of the run's generator, if it is no longer where the run's config names it.
        seed: seed of the initial logits and the Gumbel noise, together with the key or file name of the picture.
        device: auto, cpu, cuda or cuda:N.
    """
    if str(image).encode(errors="replace").decode() != str(image):
        raise InputError(f"{str(image)!a}: a name that is no UTF-8, which edit.json could not hold")
    on = choose_device(device)
    name, training = split_name(settings.extractor) if settings.extractor else first_extractor(run)
    network = load_extractor(run / "extractors" / name / str(training) / "model.safetensors", on)
    judges = {judge: load_judge(run / "judges" / judge / "model.safetensors", on) for judge in open_run(run).judges}
    model = load_generator_of(run, generator, on)
    if model.spec.scales:
        raise InputError(f"{run}: tokens of its generator have several scales: only tokens of one can be edited")
    train = read_packed(run / "data" / "train" / "grids.npy")
    target = find_class(settings.to, model.spec.class_names, np.unique(train["label"]).tolist(), "--to = ")
    picture = take_picture(image, key, model)
    method = None if len(settings.region) == 4 else settings.method or TIS
    if method is None:
        where = check_region(settings.region, model.spec.grid)
    else:
        where = most_important(settings.region, method, network, model.codebook, picture.tokens, seed)
    with one_thread():
        found = _search(network, model, picture, target, where, settings, seed)
    edit = change_region(model, picture.grid, where, found.tokens, settings.margin)
    came_in = edit.before if picture.image is None else picture.image
    pictures = {"picture": came_in, "before": edit.before, "after": edit.after}
    grids = {"before": picture.grid, "after": edit.grid}
    warnings = list(warnings_of(pictures, grids, train["grid"], len(model.codebook)))
    readings = _readings(judges, pictures, target, model)
    result = {
        "image": str(image),
        "key": picture.key,
        "label": None if picture.label is None else _named(picture.label, model.spec.class_names),
        "target": _named(target, model.spec.class_names),
        "region": where.model_dump(),
        "method": method,
        "tokens": {name: grid.tolist() for name, grid in grids.items()},
        "warnings": warnings,
        "readings": readings,
        "extractor": {
            "name": name,
            "training": training,
            "target_logit_before": found.before,
            "target_logit_after": found.after,
        },
        "search": {
            "step": found.step,
            "seed": seed,
            **settings.model_dump(include=set(SearchOptimisation.model_fields)),
        },
        "margin": settings.margin,
        "undone": edit.undone,
        "written_by": provenance(),
    }
    name_of_target = model.spec.class_names[target]
    titles = {"picture": "picture", "before": "before: its tokens, decoded", "after": f"after: to {name_of_target}"}
    _write(output, pictures, draw_sheet(pictures, grids, where, titles), result)
    for warning in warnings:
        log.warning("warning: %s", warning)
    for reading in readings:
        read, of_target = reading["reads"]["name"], reading["target_probability"]
        told = f"{reading['judge']} reads {reading['picture']}.png as {read} ({reading['probability']:.2f})"
        print(f"{told}; {name_of_target} {of_target:.2f}")


@dataclass(frozen=True)
class Picture:
    """A picture to edit.

    Args:
        key: what its search is seeded by.
        grid: its tokens, int64 ``[h, w]``.
        image: as it came in, uint8 ``[H, W, 3]``; None where only tokens did.
        label: its class; None where nobody says.
    """

    key: str
    grid: NDArray[np.int64]
    image: NDArray[np.uint8] | None
    label: int | None

    @property
    def tokens(self) -> Tokens:
        """The picture as an image of a token table; label -1 where nobody says."""
        label = -1 if self.label is None else self.label
        height, width = self.grid.shape
        tokens = self.grid.reshape(1, -1).astype(np.uint16)
        return Tokens([self.key], np.array([label]), tokens, (height, width))


def take_picture(path: Path, key: str | None, model: Generator) -> Picture:
    """An image of a run by its key in a tar, or a user's own, which the generator's encoder turns into tokens.

    Raises:
        InputError: it is missing, damaged or no image, the tar holds no such key, or has other grids.
    """
    if path.suffix != ".tar":
        if key is not None:
            raise InputError(f"--key = {key!r}: only with a tar, and {path} is not named as one")
        pixels = _fitted(read_image(path), path, model.spec.image)
        return Picture(path.stem, model.encode(torch.from_numpy(pixels[None]))[0].cpu().numpy(), pixels, None)
    if key is None:
        raise InputError(f"{path}: a tar has many images: --key says which")
    example = ""
    for sample in read_shard(path, images="any", codes=len(model.codebook)):
        example = example or f", such as {sample.key}"
        if sample.key == key:
            if sample.grid.shape != model.spec.grid:
                raise InputError(f"{path}: grids of {sample.grid.shape}; the generator's are {model.spec.grid}")
            image = None if sample.image is None else _fitted(sample.image, path, model.spec.image)
            return Picture(sample.key, sample.grid.astype(np.int64), image, sample.label)
    raise InputError(f"{path}: no image {key!r}; --key is that of one of its images{example}")


def _fitted(image: NDArray[np.uint8], path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The image, or if it has another height and width, its middle part of their ratio, resized, with a word."""
    if image.shape[:2] == shape:
        return image
    log.info("%s: %d×%d pixels, cut to its middle and resized to %d×%d", path, *image.shape[1::-1], *shape[::-1])
    return fitted(image, shape)


@dataclass(frozen=True)
class Edit:
    """A picture before and after.

    Args:
        grid: its tokens after, int64 ``[h, w]``.
        before, after: uint8 ``[H, W, 3]``.
        undone: how many pixels beyond the margin stayed as they were, and by how much, of 255, decoding alone would
            have changed them: on average and at most.
    """

    grid: NDArray[np.int64]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    undone: dict[str, float]


def change_region(
    model: Generator, grid: NDArray[np.int64], region: Region, tokens: NDArray[np.int64], margin: int
) -> Edit:
    """Decode a grid ``[h, w]`` with and without new tokens ``[p]`` in the region, and keep what lies beyond it."""
    positions = np.array(region.positions(grid.shape[1]))
    changed = edited_grids(grid[None], positions[None], tokens[None])[0]
    before, decoded = (model.decode(torch.from_numpy(each[None]))[0].cpu().numpy() for each in (grid, changed))
    share = share_of_new(region, margin, (grid.shape[0], grid.shape[1]), before.shape[:2])[:, :, None]
    difference = decoded.astype(np.float64) - before
    kept = np.abs(difference)[share[:, :, 0] == 0]
    return Edit(
        grid=changed,
        before=before,
        after=np.round(before + share * difference).astype(np.uint8),
        undone={"pixels": len(kept), "mean": float(kept.sum() / max(kept.size, 1)), "most": float(kept.max(initial=0))},
    )


def share_of_new(
    region: Region, margin: int, grid_shape: tuple[int, int], image_shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """How much of every pixel is new, ``[H, W]``: 1 in the region, falling evenly to 0 over the margin around it.

    Args:
        region: in tokens.
        margin: in tokens.
        grid_shape: (h, w); a token covers H/h × W/w pixels.
        image_shape: (H, W).
    """
    along = []
    for start, length, tokens, pixels in zip(
        (region.top, region.left), (region.height, region.width), grid_shape, image_shape, strict=True
    ):
        side = pixels // tokens
        place = np.arange(pixels)
        outside = np.maximum(np.maximum(start * side - place, place - ((start + length) * side - 1)), 0)
        along.append(np.clip(1 - outside / (margin * side + 1), 0, 1))
    return np.minimum(along[0][:, None], along[1])


@dataclass(frozen=True)
class Found:
    """The best record of a search: its step, the region's tokens int64 ``[p]``, the target's logit before and after."""

    step: int
    tokens: NDArray[np.int64]
    before: float
    after: float


def _search(
    network: nn.Module,
    model: Generator,
    picture: Picture,
    target: int,
    region: Region,
    optimisation: SearchOptimisation,
    seed: int,
) -> Found:
    """Select tokens for the region of one picture, as the codebook search does for the images of a run."""
    grids = torch.from_numpy(picture.grid[None]).to(model.device)
    goal = torch.tensor([target], device=model.device)
    part = search_part(prepare(network), model.codebook, [picture.key], grids, goal, region)
    records = -(-optimisation.steps // optimisation.record_every)
    found = [
        (part.logits_of(tokens).item(), step, tokens[0].cpu().numpy())
        for step, tokens in progress(token_selection(part, optimisation, seed), records, "codebook search", "record")
    ]
    after, step, tokens = max(found, key=lambda record: record[0])
    return Found(step, tokens, part.logits_of(part.original).item(), after)


def _readings(
    judges: Mapping[str, Judge], pictures: Mapping[str, NDArray[np.uint8]], target: int, model: Generator
) -> list[dict[str, Any]]:
    """What every judge takes every picture for, and what it gives the target."""
    readings = []
    for name, judge in judges.items():
        logits = judge.logits(torch.from_numpy(np.stack(list(pictures.values())))).cpu()
        for picture, row in zip(pictures, logits, strict=True):
            probability, read = row.softmax(0), int(row.argmax())
            readings.append(
                {
                    "judge": name,
                    "picture": picture,
                    "reads": _named(read, model.spec.class_names),
                    "probability": float(probability[read]),
                    "target_probability": float(probability[target]),
                    "target_logit": float(row[target]),
                }
            )
    return readings


def _write(output: Path, pictures: Mapping[str, NDArray[np.uint8]], sheet: Figure, result: Mapping[str, Any]) -> None:
    """The pictures, the sheet, and last edit.json, a key a line; where there is none, they belong to nothing."""
    lines = (f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in result.items())
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    replaceable(output / "edit.json").unlink(missing_ok=True)
    for name, pixels in pictures.items():
        with whole_file(output / f"{name}.png") as temporary:
            temporary.write_bytes(encode_image(pixels).content)
    save_figure(sheet, output / "sheet.png")
    with whole_file(output / "edit.json") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _named(label: int, names: Sequence[str]) -> dict[str, int | str | None]:
    return {"index": label, "name": names[label] if label < len(names) else None}
