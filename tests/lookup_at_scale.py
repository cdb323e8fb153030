"""The atlas of a large codebook: python -m tests.lookup_at_scale prints how long it takes to write, and to use.

The dictionary is synthetic: 16,384 codes, 1,000 classes, and as many rows as the default setting keeps.
"""

import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import torch

from cortex.atlas.settings import Atlas
from cortex.atlas.write import write_atlas
from cortex.core.tables import write_table
from cortex.core.weights import write_weights
from cortex.data.pixels import encode_image
from cortex.data.tokens import GRID
from cortex.dictionary.settings import Kinds
from cortex.dictionary.table import LEAST, PAIRS, TOP_N
from cortex.generators.codebook_only import codebook_metadata
from cortex.generators.spec import GeneratorSpec

CODES, CLASSES, GRID_SIZE, CHANNELS, PATCH = 16384, 1000, (16, 16), 256, 16  # the paper's
EXTRACTORS = ("cnn", "resnet", "transformer")
WIDE = {"width": 1440, "height": 900}


def write_large_run(folder: Path, rows: int, codes: int = CODES) -> None:
    """Tables of codes and of the dictionary with so many rows, of random numbers, and a codebook."""
    random = np.random.default_rng(0)
    names = tuple(f"class number {label}" for label in range(CLASSES))
    spec = GeneratorSpec(names, GRID_SIZE, codes, CHANNELS)
    centres = random.normal(size=(64, CHANNELS))
    vectors = centres[random.integers(0, 64, codes)] + 0.3 * random.normal(size=(codes, CHANNELS))
    write_weights(
        folder / "generator" / "codebook.safetensors",
        {"codebook": torch.from_numpy(vectors.astype(np.float32))},
        codebook_metadata(spec),
    )
    write_table(folder / "codes.parquet", code_table(random, codes), {GRID: "16x16"})
    pairs = np.sort(random.choice(CLASSES * codes, rows, replace=False))
    stated = {LEAST: "9", PAIRS: str(3 * rows), TOP_N: "10"}
    write_table(folder / "dictionary.parquet", pair_table(random, *np.divmod(pairs, codes), names), stated)


def code_table(random: np.random.Generator, codes: int) -> pa.Table:
    """A row for every code."""
    kinds = np.array(["marks a class", "shared by classes", "background", "hardly used"])
    colours = random.integers(0, 256, (codes, 1, 1, 3)) + random.normal(0, 20, (codes, PATCH, PATCH, 3))
    patches = [encode_image(patch).content for patch in np.clip(colours, 0, 255).astype(np.uint8)]
    positions = GRID_SIZE[0] * GRID_SIZE[1]
    count = random.geometric(1e-4, codes)
    return pa.table(
        {
            "token": np.arange(codes, dtype=np.int32),
            "kind": kinds[random.integers(0, 4, codes)],
            "sure": random.random(codes),
            "classes": [[int(label)] for label in random.integers(0, CLASSES, codes)],
            "class_share": random.random(codes),
            "same_class": random.random(codes),
            "count": count,
            "images": count // 2 + 1,
            "share": count / count.sum(),
            "row": 15 * random.random(codes),
            "column": 15 * random.random(codes),
            "heat": list(random.integers(0, 99, (codes, positions)).astype(np.uint32)),
            "nearest": list(random.integers(0, codes, (codes, 8)).astype(np.int32)),
            "distances": list(np.sort(random.random((codes, 8)).astype(np.float32))),
            "contexts": count,
            "spread": 99 * random.random(codes),
            **dict.fromkeys(("patch", "patch_mean", "patch_spread"), pa.array(patches)),
        }
    )


def pair_table(random: np.random.Generator, labels: np.ndarray, tokens: np.ndarray, names: tuple[str, ...]) -> pa.Table:
    """A row for every pair; a hundredth has ranks, a thousandth causes."""
    size, value = len(labels), random.normal(size=len(labels))
    ranks, measured = random.random(size) > 0.01, random.random(size) > 0.001
    columns = {
        "label": labels.astype(np.int32),
        "class_name": pa.array(names).take(pa.array(labels)),
        "token": tokens.astype(np.int32),
        "count": random.integers(1, 999, size),
        "images": random.integers(1, 99, size),
        "share": random.random(size) / 100,
        "class_share": random.random(size),
        "log_odds": value,
        "log_odds_low": value - 0.5,
        "log_odds_high": value + 0.5,
    }
    for name in EXTRACTORS:
        columns[f"importance/tis/{name}"] = random.normal(size=size)
        for kind in ("count", "contrast"):
            columns[f"{kind}_rank/tis/{name}"] = pa.array(random.integers(0, 100, size), pa.int32(), mask=ranks)
    for name in ("masked", "placed"):
        columns[f"{name}_images"] = pa.array(random.integers(1, 20, size), pa.int64(), mask=measured)
        for which in ("", "_random", "_excess"):
            for end in ("", "_low", "_high"):
                columns[f"{name}{which}{end}"] = pa.array(random.normal(size=size), mask=measured)
    return pa.table(columns)


def write_large_atlas(folder: Path) -> Path:
    """The atlas of such a run; its page."""
    page = folder / "atlas" / "index.html"
    write_atlas(
        page, folder, extractors=tuple(f"{name}/average" for name in EXTRACTORS), settings=Atlas(), kinds=Kinds()
    )
    return page


def times(browser, page_file: Path) -> dict[str, float]:
    """Seconds from an address or a key to what a person waits for, each the time that the page shows it."""
    found = {}
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()

    def waited(name, act, selector):
        began = time.perf_counter()
        act()
        page.wait_for_selector(selector)
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        found[name] = time.perf_counter() - began

    address = page_file.as_uri()
    waited("open the wall", lambda: page.goto(address), ".tile:nth-child(200)")
    waited("scroll to its end", lambda: page.evaluate("scrollTo(0, 1e9)"), f'.tile[href="#token/{last_token(page)}"]')
    waited("order by frequency", lambda: page.select_option("select[name=sort]", "frequency"), ".tile:nth-child(9)")
    waited("filter by class", lambda: page.select_option("select[name=class]", "7"), ".lead:has-text('log-odds')")
    waited("open a token", page.locator(".tile").first.click, "main table")
    waited("draw its plots", page.locator(".plot").first.scroll_into_view_if_needed, ".plot svg")
    waited("open a class", lambda: page.goto(f"{address}#class/8"), "main table")
    context.close()
    return found


def last_token(page) -> int:
    return page.evaluate("atlas.codes.order.at(-1)")


def main(rows: int) -> None:
    """Write, open, and print the times."""
    from playwright.sync_api import sync_playwright

    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        write_large_run(Path(folder), rows)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        page = write_large_atlas(Path(folder))
        seconds, memory = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = sum(path.stat().st_size for path in page.parent.rglob("*") if path.is_file())
        print(f"{CODES} codes, {CLASSES} classes, {rows} rows: written in {seconds:.1f} s, {size / 1e6:.0f} MB,")
        print(f"at most {memory / 1e6:.1f} GB of memory ({before / 1e6:.1f} GB before)")
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        for name, waited in times(browser, page).items():
            print(f"{name:<20}{waited:6.2f} s")
        browser.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
