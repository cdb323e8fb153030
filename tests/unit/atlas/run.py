"""A run to look up: seven classes, two extractors, two judges; classes whose names try to break the page.

Its images are random; its dictionary is made by the commands of the dictionary.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from cortex.atlas.settings import Atlas
from cortex.atlas.write import write_atlas
from cortex.core.tables import write_table
from cortex.core.weights import write_weights
from cortex.data.manifest import write_manifest
from cortex.data.packed import packed_dtype
from cortex.dictionary.codes import describe_codes
from cortex.dictionary.importance import mean_importance
from cortex.dictionary.patches import describe_patches
from cortex.dictionary.settings import Kinds
from cortex.dictionary.table import write_dictionary
from cortex.generators.codebook_only import codebook_metadata
from cortex.generators.spec import GeneratorSpec
from cortex.run import SETTINGS
from tests.unit.report.example import CLASSES, CODES, random_images, save, write_scores, write_shards

EXTRACTORS, JUDGES, N, TOP_N = ["cnn", "resnet"], ["resnet", "vit"], [1, 2, 4], 5
EVIL, CJK, TWICE = "</script><b onclick=alert(1)>", "川 река", "crane"
NAMES = ("ant", EVIL, CJK, TWICE, TWICE, "river", "0")
MARKED = {2: 20, 5: 21}  # classes, and the code that stands in most of their train images and hardly elsewhere
ANOTHER = 6  # a class of which one train image holds the code of class 2
SEARCHED = "test-000000"  # of class 0
KINDS = Kinds(least_share=0.25)


def train_grids():
    """Labels, and grids of codes below 20 but for the codes that mark a class."""
    random = np.random.default_rng(7)
    labels = np.repeat(np.arange(CLASSES), 20)
    grids = random.integers(0, 20, (len(labels), 4, 4))
    for label, code in MARKED.items():
        grids[(labels == label) & (random.random(len(labels)) < 0.9), 0, 0] = code
    grids[np.flatnonzero(labels == ANOTHER)[0], 3, 3] = MARKED[2]
    return labels, grids


def lists():
    """Concept tokens of every class: by contrast its marked code, if it has one, and its label; by count one code.

    The last class also lists the code that marks class 2.
    """
    rows = [
        {"label": label, "list": kind, "rank": rank, "token": token}
        for label in range(CLASSES)
        for kind, tokens in (
            ("contrast", [*([MARKED[label]] if label in MARKED else []), label, *[MARKED[2]] * (label == ANOTHER)]),
            ("count", [label + 1]),
        )
        for rank, token in enumerate(tokens)
    ]
    return [{**row, "top_n": TOP_N, "count": 3, "share": 0.1} for row in rows]


def causes(name):
    """Changes of the probability of classes by their marked codes: three images of class 2, one of class 5."""
    changes = {"masked": (-0.3, -0.1), "placed": (0.4, 0.05)}[name]
    return [
        {
            "key": f"test-{row}",
            "label": label,
            "token": MARKED[label],
            "method": method,
            "probability_change": change - row / 100,
        }
        for label, images in ((2, 3), (5, 1))
        for method, change in zip(("code", "random"), changes, strict=True)
        for row in range(images)
    ]


def masks(labels):
    """The image level: at n, an image's probability of 0.9 falls by n tenths, by a random mask by n fiftieths."""
    return [
        {"key": f"test-{row:06d}", "label": int(label), "method": method, "n": n}
        | {"probability": 0.9 - n / cost, "probability_change": -n / cost}
        for row, label in enumerate(labels)
        for method, cost in (("importance", 10), ("random_area", 50), ("random", 40))
        for n in N
    ]


def comparisons():
    """Differences of every class, with those to other baselines and of single trainings, which the atlas leaves out."""
    return [
        {"level": level, "attribution": "tis", "extractor": extractor, "training": training, "judge": judge}
        | {"method": "importance", "baseline": baseline, "list": kind, "area": area, "setting": setting}
        | {"label": label, "pairs": 9, "difference": -0.01 * setting, "low": -0.5, "high": 0.25, "verdict": verdict}
        for label in (None, *range(CLASSES))
        for extractor in EXTRACTORS
        for judge in JUDGES
        for training in (0, None)
        for verdict in (None if training == 0 else "worse",)
        for level, baselines, settings, kind, area in (
            ("image_level", ("random", "random_area"), N, None, None),
            ("concept_level", ("frequency",), (TOP_N,), "contrast", 0.2),
        )
        for baseline in baselines
        for setting in settings
    ]


def write_lookup(folder: Path) -> Path:
    """All files that the atlas reads."""
    labels, grids, images = random_images()
    files = write_shards(folder / "data" / "test", labels, grids, images)
    write_manifest(folder / "data" / "manifest.parquet", files.shards)
    packed = np.zeros(len(train_grids()[0]), packed_dtype((4, 4)))
    packed["label"], packed["grid"] = train_grids()
    np.save(folder / "grids.npy", packed)
    codebook = folder / "generator" / "codebook.safetensors"
    vectors = {"codebook": torch.from_numpy(np.random.default_rng(1).normal(size=(CODES, 6)).astype(np.float32))}
    write_weights(codebook, vectors, codebook_metadata(GeneratorSpec(NAMES, (4, 4), CODES, 6)))
    describe_patches(folder / "patches.parquet", files.tokens, files.images, codes=CODES)
    described = folder / "patches.parquet"
    describe_codes(folder / "codes.parquet", folder / "grids.npy", codebook, described, nearest=3, settings=KINDS)
    for number, name in enumerate(EXTRACTORS):
        scores = [
            write_scores(folder / "importance" / "tis" / name / "average" / "test", table, number, True)
            for table in files.tokens
        ]
        mean_importance(folder / f"{name}.parquet", scores, codes=CODES)
        for judge in JUDGES:
            for table in files.tokens:
                level = folder / "evaluation" / "image_level" / "tis" / name / "average" / judge
                save(level / table.name, masks(labels))
    save(folder / "lists.parquet", lists())
    for judge in JUDGES:
        rows = [
            {"key": f"test-{row:06d}", "label": int(label), "predicted": int(label)} for row, label in enumerate(labels)
        ]
        save(folder / "evaluation" / "judge_accuracy" / f"{judge}.parquet", rows)
    for name in ("masked", "placed"):
        save(folder / f"{name}.parquet", causes(name))
    write_dictionary(
        folder / "dictionary.parquet",
        folder / "grids.npy",
        codebook,
        importance=tuple(f"tis/{name}={folder / name}.parquet" for name in EXTRACTORS),
        concept_tokens=tuple(f"tis/{name}={folder / 'lists.parquet'}" for name in EXTRACTORS),
        top_n=TOP_N,
        masked=(folder / "masked.parquet",),
        placed=(folder / "placed.parquet",),
        rows=1000,
    )
    settings = {"generator": {"family": "taming", "weights": None}, "importance": {"method": ["tis"]}}
    settings |= {"extractors": {name: {"seeds": 1} for name in EXTRACTORS}, "judges": {name: {} for name in JUDGES}}
    (folder / SETTINGS).write_text(json.dumps(settings))
    (folder / "metrics").mkdir()
    write_table(folder / "metrics" / "comparisons.parquet", pa.Table.from_pylist(comparisons()))
    write_searches(folder)
    return folder


def write_lookup_atlas(folder: Path, generator: Path) -> Path:
    """The atlas of such a run, in the run's folder; the folder of the atlas."""
    write_atlas(
        folder / "atlas" / "index.html",
        folder,
        extractors=tuple(f"{name}/average" for name in EXTRACTORS),
        judges=tuple(JUDGES),
        searched=tuple(f"{name}/0" for name in EXTRACTORS),
        images="png",
        settings=Atlas(images_per_class=2),
        kinds=KINDS,
        generator=generator,
        device="cpu",
    )
    return folder / "atlas"


def write_searches(folder: Path) -> None:
    """A search for class 5 in an image of class 0, at two steps; the first judge likes the first of them best."""
    found = [
        {"key": SEARCHED, "method": method, "step": step, "source": 0, "target": 5, "positions": [5, 6, 9, 10]}
        | {"tokens": [step] * 4, "logit_before": -1.0, "logit_after": 2.0}
        for method in ("token_selection", "embedding")
        for step in (3, 6)
    ]
    judged = [
        {"key": SEARCHED, "method": method, "step": 3, "source": 0, "target": 5}
        | {"target_probability_before": 0.125, "target_probability_after": 0.625}
        for method in ("token_selection", "embedding")
    ]
    for name in EXTRACTORS:
        save(folder / "codebook" / name / "0.parquet", found)
        for judge in JUDGES:
            save(folder / "evaluation" / "codebook_level" / name / "0" / f"{judge}.parquet", judged)
