"""A token or a class of a run on a page of one file, with more images than the atlas holds of it."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from tyro.conf import Positional

from cortex.atlas.classes import judged_right, read_comparisons, write_class_parts
from cortex.atlas.codes import wall_columns, with_patches_of, write_code_parts, write_patches
from cortex.atlas.images import write_image_parts
from cortex.atlas.libraries import copy_libraries
from cortex.atlas.page_file import page_of_one_file, write_page
from cortex.atlas.parts import read_part, write_part
from cortex.atlas.sample import Sample, Split, read_test_split
from cortex.atlas.write import PAGES, dictionary_columns, measured_causes
from cortex.core.errors import InputError, shown
from cortex.core.files import whole_file
from cortex.core.tables import read_table
from cortex.generators.class_names import find_class
from cortex.run import open_run

# Which images the page has.
ORIGINS = {
    "token": "the {images} test images in which token {number} is most important",
    "class": "the first {images} test images of the class",
}

log = logging.getLogger(__name__)


def show(
    what: Positional[Literal["token", "class"]],
    name: Positional[str],
    *,
    run: Path,
    output: Path | None = None,
    images: int = 24,
) -> None:
    """Write a page of one token or one class. The run must have an atlas.

    The atlas holds a sample of the test images. This page takes its images from all of them, and has all rows of a
    token. It is one file that needs no other file and no network.

    Args:
        what: token or class.
        name: number of the token; index or name of the class.
        run: folder of the run, such as results/landuse.
        output: HTML file to write; if not given, token-NUMBER.html or class-INDEX.html in the current folder.
        images: images at most: those in which the token is most important, or the first ones of the class.
    """
    if images < 1:
        raise InputError(f"--images {images}: allowed: 1 or more")
    open_run(run)
    facts = read_part(run / "atlas", "run")
    number, address = find_token(name, facts) if what == "token" else find_label(name, facts)
    codes, rows = read_table(run / "codes.parquet"), dictionary_columns(read_table(run / "dictionary.parquet"))
    split = read_test_split(run, len(codes)) if facts["sample"] else None
    facts |= {**PAGES, "measured": measured_causes(codes, rows), "test_images": len(split.images) if split else 0}
    of_entry = rows["token" if what == "token" else "label"] == number
    rows = {column: values[of_entry] for column, values in rows.items()}
    explained = dict(zip(facts["explained"], facts["scores"], strict=True))
    sample = read_images(split, explained, what, number, images) if split else None
    origin = ORIGINS[what].format(number=number, images=len(sample.pixels)) if sample else ""
    facts["sample"] = sample.stated(origin) if sample else None
    facts["tables"] = None
    facts["alone"] = {"address": address, "run": str(run)}
    output = output or Path(f"{what}-{number}.html")
    with TemporaryDirectory() as temporary, whole_file(output) as written:
        folder = Path(temporary)
        if what == "token":
            write_code_parts(folder, codes, rows, sample, alone=number)
            tokens, described = [number, *codes["nearest"][number].as_py()], [number]
        else:
            write_class_parts(folder, [number], rows, read_comparisons(run), judged_right(run, facts["judges"]))
            tokens, described = read_part(folder, f"classes/{number}")["rows"].get("token", []), []
        if sample:
            tokens += np.unique(sample.images.tokens).tolist()
            write_image_parts(folder, run, sample, (), explained, tuple(facts["judges"]), "png")
        codes = with_patches_of(codes, tokens, described)
        write_part(folder, "run", {**facts, "patches": write_patches(folder, codes)})
        write_part(folder, "codes", wall_columns(codes, rows, np.arange(len(codes))))
        copy_libraries(folder / "lib")
        write_page(folder, facts["run"])
        written.write_text(page_of_one_file(folder, facts["run"]), encoding="utf-8")
    log.info("wrote %s", output)


def find_token(text: str, facts: dict[str, Any]) -> tuple[int, str]:
    """A token by its number, and the address of its page.

    Raises:
        InputError: the codebook has no such code.
    """
    if not (text.isdecimal() and len(text) < 10 and int(text) < facts["codes"]):
        raise InputError(f"token {shown(text)}: not a code of this run; codes: 0 to {facts['codes'] - 1}")
    return int(text), f"token/{int(text)}"


def find_label(text: str, facts: dict[str, Any]) -> tuple[int, str]:
    """A class by its index or name, and the address of its page: that of the index where two classes have the name.

    Raises:
        InputError: the run has no such class, or several have that name.
    """
    labels, known = facts["labels"], facts["classes"]
    names = [known.get(str(label), str(label)) for label in range(max(labels) + 1)]
    label = find_class(text, names, labels, "class ")
    only = list(known.values()).count(names[label]) == 1 and known.get(names[label]) in (None, names[label])
    return label, f"class/{quote(names[label], safe='') if only else label}"


def read_images(
    split: Split, explained: dict[str, str], what: Literal["token", "class"], number: int, most: int
) -> Sample | None:
    """Test images of a token or class: those of the token's highest mean score over methods, or the class's first.

    None where there is no image.
    """
    tokens, labels = split.images.tokens, split.images.labels
    rows = np.flatnonzero((tokens == number).any(1) if what == "token" else labels == number)
    if what == "class":
        rows = rows[:most]
    if not len(rows):
        return None
    scores = split.scores(explained, rows)
    if what == "token":
        highest = np.where(tokens[rows] == number, np.mean(list(scores.values()), 0), -np.inf).max(1)
        best = np.argsort(-highest, kind="stable")[:most]
    else:
        best = np.arange(len(rows))
    best = best[np.lexsort((rows[best], labels[rows[best]]))]
    return split.sample(rows[best], {name: values[best] for name, values in scores.items()})
