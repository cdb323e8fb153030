"""Concept or adversary? Codebook searches, read by extractors and judges other than their own (METHOD.md, section 9).

A search raises the logit of its own extractor. If its tokens carry the concept, other extractors and the judges read
the target class, too, and the tokens are about as likely under the generator's prior as those of real samples. The
searches are compared with regions that need no search: random codes, another image's, and the generator's draws.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.files import named_path
from cortex.core.tables import read_table, write_table
from cortex.data.tokens import read_tokens
from cortex.explain.codebook_search import SCHEMA as FOUND
from cortex.extractors.codebook import look_up
from cortex.extractors.names import split_name
from cortex.extractors.network import load_extractor
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.base import Generator, Prior
from cortex.generators.load import load_generator
from cortex.generators.prior import log_likelihoods
from cortex.generators.sampling import Sampling
from cortex.judges.judge import Judge, load_judge
from cortex.studies.transfer.candidates import Candidates, Searched, candidates, in_batches, read_images
from cortex.studies.transfer.metrics import summarise

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("extractor", pa.string()),
        ("training", pa.int32()),
        ("method", pa.string()),
        ("step", pa.int32()),
        ("source", pa.int32()),
        ("target", pa.int32()),
        ("kind", pa.string()),
        ("reader", pa.string()),
        ("logit", pa.float32()),
        ("probability", pa.float32()),
        ("log_likelihood", pa.float32()),
    ]
)


def measure_transfer(
    output: Path,
    rows: Path,
    *,
    searches: list[str],
    tokens: list[Path],
    extractors: list[str],
    judges: list[str],
    sampling: Sampling,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    batch: int = 100,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Read the results of codebook searches by other extractors, the judges and the generator's prior.

    References, without an extractor: `random_codes`, uniform over the codebook; `pasted_region`, the region of another
    test image of the target class; `drawn_region`, drawn by the generator for the target, given the tokens before;
    each as many times as a search has recorded steps. `real_target` is such another image as a whole, and `unedited`
    the image itself.

    Args:
        output: Parquet to write, means over images, and over trainings and images, with 95 % intervals: extractor,
            training (null: all of them), method, baseline (null: the value itself, else the difference from it), kind
            (own; trainings: other trainings of the extractor; extractors: the others; judges; prior), reader (null:
            mean over the kind's), measure (probability and logit of the target, log_likelihood; gap: own probability
            minus theirs; log_likelihood_ratio: given the target, not the source), selection (last: a search's last
            step, references averaged over their draws; best: each reader's own best of steps or draws), samples,
            value, low, high, effect_size, p, p_corrected, verdict (the last two: see the command comparisons).
        rows: Parquet to write, the readings: key, extractor, training, method, step, source, target, kind, reader,
            logit and probability (of the target), log_likelihood (of the region's tokens under the prior, in nats a
            token). For the prior, reader names the class of the condition; it has the last of these columns only.
        searches: results of codebook searches, of the same images and region: each the trained extractor that made
            it and the file, as name/training=path.
        tokens: token tables of the test split.
        extractors: weights of the trained extractors that read, as name/training=path.
        judges: weights of the judges that read, as name=path.
        sampling: options of the generator's draws.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator; the family's own if not given.
        batch: images that are read at once.
        seed: seed of the references' random numbers and of the bootstrap.
        device: auto, cpu, cuda or cuda:N.
    """
    reading = {"extractors": dict(map(named_path, extractors)), "judges": dict(map(named_path, judges))}
    made_with, paths = (list(part) for part in zip(*map(named_path, searches), strict=True))
    if unknown := set(made_with) - reading["extractors"].keys():
        known = ", ".join(reading["extractors"])
        raise InputError(f"search made with {min(unknown)!r}: allowed: the extractors that read, {known}")
    on = choose_device(device)
    model = load_generator(generator, on, family=family, precision="float32")
    prior = model.prior()
    if prior is None:
        log.info("the generator has no prior: no likelihoods, and no drawn regions")
    tables = [read_table(path, FOUND.names) for path in paths]
    images = read_images(paths, tables, read_tokens(tokens, codes=len(model.codebook)))
    proposed = candidates(tables, made_with, images, model, prior, sampling, batch, seed)
    readings: list[pa.Table] = []
    for kind, name, logits_of in readers(model, reading, on):
        logits = in_batches(logits_of, [proposed.grids], batch, f"{kind} {name}")
        target = torch.from_numpy(images.target[proposed.image])[:, None]
        readings.append(
            _readings(
                proposed,
                images,
                kind,
                name,
                logit=logits.gather(1, target)[:, 0],
                probability=logits.softmax(1).gather(1, target)[:, 0],
            )
        )
    if prior is not None:
        readings += list(likelihoods(proposed, images, prior, on, batch))
    table = pa.concat_tables(readings)
    write_table(rows, table)
    write_table(output, summarise(table, seed=seed))


def readers(
    model: Generator, reading: dict[str, dict[str, Path]], device: torch.device
) -> Iterator[tuple[str, str, Callable[[Tensor], Tensor]]]:
    """Kind and name of every reader, and its logits ``[B, classes]`` of grids int64 ``[B, h, w]``."""
    for name, path in reading["extractors"].items():
        network = load_extractor(path, device)

        def of_extractor(grids: Tensor, network: torch.nn.Module = network) -> Tensor:
            with torch.inference_mode():
                return network(look_up(model.codebook, grids.to(device)))

        yield "extractors", name, of_extractor
    for name, path in reading["judges"].items():
        judge = load_judge(path, device)

        def of_judge(grids: Tensor, judge: Judge = judge) -> Tensor:
            return judge.logits(model.decode(grids))

        yield "judges", name, of_judge


def likelihoods(
    proposed: Candidates, images: Searched, prior: Prior, device: torch.device, batch: int
) -> Iterator[pa.Table]:
    """Log-likelihood a token of the last proposals' regions, given the target and given the source."""
    kept = proposed.last()
    for name, label in (("target", images.target), ("source", images.source)):

        def of_grids(grids: Tensor, classes: Tensor) -> Tensor:
            found = log_likelihoods(prior, classes.to(device), grids.flatten(1).to(device), images.positions)
            return found.mean(1)

        found = in_batches(of_grids, [kept.grids, label[kept.image]], batch, f"likelihood given the {name}")
        yield _readings(kept, images, "prior", name, log_likelihood=found)


def _readings(proposed: Candidates, images: Searched, kind: str, reader: str, **measures: Tensor) -> pa.Table:
    rows = len(proposed.method)
    made_with = [split_name(word) if word is not None else (None, None) for word in proposed.extractor]
    columns: dict[str, Any] = {
        "key": [images.keys[place] for place in proposed.image],
        "extractor": pa.array([name for name, _ in made_with], pa.string()),
        "training": pa.array([training for _, training in made_with], pa.int32()),
        "method": proposed.method,
        "step": proposed.step,
        "source": images.source[proposed.image],
        "target": images.target[proposed.image],
        "kind": [kind] * rows,
        "reader": [reader] * rows,
    }
    for name in ("logit", "probability", "log_likelihood"):
        columns[name] = measures[name].numpy() if name in measures else pa.nulls(rows, pa.float32())
    return pa.table(columns).cast(SCHEMA)
