"""Figures as the page holds them: inlined, with their captions."""

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from cortex.core.errors import InputError
from cortex.report import CAPTIONS

MIME = {"svg": "image/svg+xml", "png": "image/png"}
# Figures in the page's order: kind of file, and the parts of a run that a figure needs.
FIGURES: dict[str, tuple[str, frozenset[str]]] = {
    "samples": ("png", frozenset({"images"})),
    "reconstruction": ("png", frozenset({"reconstruction"})),
    "training": ("svg", frozenset({"trained"})),
    "importance": ("png", frozenset({"images"})),
    "masking_by_n": ("svg", frozenset({"image_level"})),
    "masking_by_area": ("svg", frozenset({"image_level"})),
    "masking_by_brightness": ("svg", frozenset({"image_level"})),
    "concept_level": ("svg", frozenset({"concept_level"})),
    "codebook_level": ("svg", frozenset({"codebook_level"})),
    "codebook_search": ("png", frozenset({"codebook_level", "images"})),
}
OF_JUDGES = "codebook_search"  # the figure that exists once for each judge


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Args:
        name: of the figure.
        source: the file as a data URI.
        title: first line of its caption, also its text for those who do not see it.
        text: the rest of the caption.
        of: the judge, where there is a figure for each; else empty.
    """

    name: str
    source: str
    title: str
    text: str
    of: str = ""


def read_pictures(folder: Path, parts: Collection[str], judges: Sequence[str]) -> dict[str, list[Picture]]:
    """The figures by name; none of those that need more than the run has.

    Args:
        folder: of the figures' files: NAME.svg or NAME.png; codebook_search.JUDGE.png for each judge.
        parts: of the run: "trained", "images", "reconstruction", and the judged levels.
        judges: their names.

    Raises:
        InputError: a figure is missing.
    """
    pictures: dict[str, list[Picture]] = {}
    for name, (kind, needs) in FIGURES.items():
        of_name = judges if name == OF_JUDGES else ("",)
        pictures[name] = [_read(folder, name, kind, CAPTIONS, of) for of in of_name] if needs <= set(parts) else []
    return pictures


def read_study_pictures(folder: Path, names: Sequence[str], captions: Path) -> list[Picture]:
    """The figures of a study's section.

    Args:
        folder: of the figures' files.
        names: of the figures.
        captions: folder of their captions.

    Raises:
        InputError: a figure is missing.
    """
    return [_read(folder, name, "png", captions) for name in names]


def caption(name: str, folder: Path = CAPTIONS) -> tuple[str, str]:
    """First line and the rest of a figure's caption, the same that Snakemake's own report shows."""
    title, _, text = (folder / f"{name}.rst").read_text(encoding="utf-8").partition("\n")
    return title.strip(), " ".join(text.split())


def _read(folder: Path, name: str, kind: str, captions: Path, of: str = "") -> Picture:
    path = folder / f"{name}{'.' + of if of else ''}.{kind}"
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except FileNotFoundError:
        raise InputError(f"{path}: no such figure; draw-{name.replace('_', '-')} draws it") from None
    title, text = caption(name, captions)
    return Picture(name, f"data:{MIME[kind]};base64,{content}", title, text, of)
