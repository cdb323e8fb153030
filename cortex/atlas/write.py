"""The atlas as a folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from cortex.atlas.classes import judged_right, read_comparisons, write_class_parts
from cortex.atlas.codes import CAUSES, Columns, measured_rows, wall_columns, write_code_parts, write_patches
from cortex.atlas.images import write_image_parts
from cortex.atlas.libraries import copy_libraries
from cortex.atlas.likeness import likeness_order
from cortex.atlas.page_file import PAGE_NAME, write_page
from cortex.atlas.parts import numbers, rounded, write_part
from cortex.atlas.sample import first_rows, read_test_split
from cortex.atlas.searches import decode_searches
from cortex.atlas.settings import Atlas
from cortex.core.errors import InputError
from cortex.core.files import whole_folder
from cortex.core.provenance import provenance
from cortex.core.tables import read_table
from cortex.data.layout import Layout
from cortex.data.pixels import ImageFormat
from cortex.dictionary.kinds import KINDS, MARKS, SURE, marking_share
from cortex.dictionary.settings import Kinds
from cortex.dictionary.table import LEAST, PAIRS, TOP_N
from cortex.explain import TIS
from cortex.extractors.codebook import load_codebook
from cortex.extractors.names import split_name
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.load import generator_spec
from cortex.generators.spec import GeneratorSpec
from cortex.report.results import FEW_RIGHT, Source, most_accurate

STATED = {LEAST: "least_images", PAIRS: "pairs", TOP_N: "top_n"}
PAGES = {"sure": SURE, "few_right": FEW_RIGHT}  # bounds of what the pages call weak, and few
SOURCES: dict[Source, str] = {
    "drawn": "The images are drawn by the generator; they are no photographs. The class of an image is the one that "
    "the generator was asked to draw: an image can fail to show it.",
    "imported": "The images are decoded from imported tokens; they are no photographs.",
    "pictures": "The images are real pictures, in tokens of the generator's encoder.",
}
MARK = Path("data") / "run.js"  # a folder that has it is an atlas


def write_atlas(
    output: Path,
    run: Path,
    *,
    extractors: tuple[str, ...],
    methods: tuple[str, ...] = (TIS,),
    judges: tuple[str, ...] = (),
    searched: tuple[str, ...] = (),
    images: ImageFormat | None = None,
    source: Source = "drawn",
    settings: Atlas,
    kinds: Kinds,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    device: str = "auto",
) -> None:
    """Write the atlas of a run: pages of tokens, classes and images, which open from the file, without a network.

    The command reads the dictionary, importance, evaluations and test images from the run's folder.

    Args:
        output: page to write, index.html, in a folder of its own, which is replaced as a whole.
        run: folder of the run, such as results/landuse.
        extractors: extractors whose importance is shown, as one training or the average: cnn/0, cnn/average.
        methods: methods of importance.
        judges: names of the judges.
        searched: trained extractors whose codebook searches are shown; omit if the run has no decoder.
        images: format of the pictures, png, jpeg or webp; omit if the run has no test images.
        source: the test images are drawn by the generator, imported as grids, or real pictures that were encoded.
        settings: what the atlas holds.
        kinds: bounds of the kinds of codes, which the pages state.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator; the family's own if not given.
        device: of the decoder: auto, cpu, cuda or cuda:N.
    """
    folder = output.absolute().parent
    if output.name != PAGE_NAME:
        raise InputError(f"{output}: the page is called {PAGE_NAME}, in a folder of its own")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise InputError(f"{folder}: holds files and is no atlas; the atlas takes a folder of its own")
    codebook = run / "generator" / "codebook.safetensors"
    codes, dictionary = read_table(run / "codes.parquet"), read_table(run / "dictionary.parquet")
    rows = dictionary_columns(dictionary)
    ordered = best_first(run, extractors)
    explained = {f"{m}/{split_name(e)[0]}": f"{m}/{e}" for m in methods for e in ordered}
    sample = None
    if images:
        test = read_test_split(run, len(codes))
        chosen = first_rows(test.images.labels, settings.images_per_class)
        sample = test.sample(chosen, test.scores(explained, chosen))
    order = likeness_order(load_codebook(codebook, torch.device("cpu")).numpy())
    facts = _facts(run, generator_spec(codebook, "codebook"), dictionary, rows["label"])
    facts |= {"bounds": bounds(kinds, len(facts["labels"])), "measured": measured_causes(codes, rows)}
    facts["tables"] = "../" if folder.parent == run.absolute() else None
    facts |= {"explained": list(explained), "scores": list(explained.values()), "judges": judges}
    facts["test_images"] = len(test.images) if images else 0
    origin = f"the first {settings.images_per_class} test images of each class (setting atlas.images_per_class)"
    facts |= {"sample": sample.stated(origin) if sample else None, "source": SOURCES[source]}
    with whole_folder(folder) as temporary:
        write_part(temporary, "run", {**facts, "patches": write_patches(temporary, codes)})
        write_part(temporary, "codes", wall_columns(codes, rows, order))
        write_code_parts(temporary, codes, rows, sample)
        write_class_parts(temporary, facts["labels"], rows, read_comparisons(run), judged_right(run, judges))
        if sample and images:
            seen = decode_searches(
                run, sample, searched, next(iter(judges), None), family=family, generator=generator, device=device
            )
            write_image_parts(temporary, run, sample, seen, explained, judges, images)
        copy_libraries(temporary / "lib")
        write_page(temporary, run.name)


def best_first(run: Path, extractors: tuple[str, ...]) -> list[str]:
    """The extractor of the highest accuracy on test images, which the report's pictures show, before the others."""
    path = run / "metrics" / "extractor_accuracy.parquet"
    if not path.exists():
        return list(extractors)
    best = most_accurate(read_table(path).to_pylist())
    return sorted(extractors, key=lambda name: split_name(name)[0] != best)


def bounds(kinds: Kinds, classes: int) -> dict[str, float]:
    """The bounds of the labels: the least share of a class that a code marks, and settings."""
    return {"marks": marking_share(kinds, classes), "shared": kinds.shared, "least_share": kinds.least_share}


def measured_causes(codes: pa.Table, rows: Columns) -> dict[str, Any]:
    """How many pairs of a code and a class were measured, and what their causes show together.

    Returns:
        pairs (measured), marking (of these, those of a code that marks the class), marked (codes that mark a class);
        for each intervention, images (pairs of two images at least), and of these lower and higher: those whose effect
        is below, or above, that of the random control by the 95 % interval.
    """
    marks = pc.equal(codes["kind"], KINDS[MARKS]).to_numpy()
    first = np.array([labels[0] if labels else -1 for labels in codes["classes"].to_pylist()])
    measured = measured_rows(rows)
    tokens = rows["token"][measured]
    marking = marks[tokens] & (first[tokens] == rows["label"][measured])
    found: dict[str, Any] = {"pairs": len(tokens), "marking": int(marking.sum()), "marked": int(marks.sum())}
    for name in CAUSES:
        if name in rows:
            several = rows[f"{name}_images"] >= 2
            low, high = (rows[f"{name}_excess_{end}"][several] for end in ("low", "high"))
            found[name] = {"images": len(low), "lower": int((high < 0).sum()), "higher": int((low > 0).sum())}
    return found


def dictionary_columns(dictionary: pa.Table) -> Columns:
    """Columns of the dictionary that are numbers, rounded as the parts have them."""
    return {name: rounded(numbers(dictionary[name])) for name in dictionary.column_names if name != "class_name"}


def _facts(run: Path, spec: GeneratorSpec, dictionary: pa.Table, labels: NDArray[np.integer]) -> dict[str, Any]:
    """What the page states of the run: names of classes by label (the number where none is known), sizes, origin."""
    names = {label: str(label) for label in range(int(labels.max()) + 1)} | dict(enumerate(spec.class_names))
    stated = {
        name.decode(): int(value) for name, value in dictionary.schema.metadata.items() if name.decode() in STATED
    }
    layout = Layout(spec.grid, spec.scales)
    return {
        "run": run.name,
        "codes": spec.codes,
        "tilings": layout.tilings,
        "maskable": int(layout.maskable[0]),
        "kinds": KINDS,
        **PAGES,
        "classes": names,
        "labels": np.unique(labels).tolist(),
        "rows": len(dictionary),
        "causes": [name for name in CAUSES if name in dictionary.column_names],
        **{STATED[name]: value for name, value in stated.items()},
        "written_by": provenance(),
    }
