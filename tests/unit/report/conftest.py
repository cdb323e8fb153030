"""A run of two classes, two trainings of two extractors and two judges: files that the report is made of."""

from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from cortex.core.tables import write_table
from cortex.data.decoded import decode_images
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.data.tokens import Tokens, read_shard_tokens, read_tokens, write_tokens
from cortex.report.draw.images import draw_importance, draw_samples
from cortex.report.draw.metrics import draw_codebook_level, draw_concept_level, draw_masking, draw_training
from cortex.report.draw.search import draw_search
from cortex.report.draw.tokens import draw_tokens
from cortex.report.html import write_report
from tests.unit.report.rows import (
    CODEBOOK_LEVEL,
    COMPARISONS,
    CONCEPT_LEVEL,
    EVIL,
    EXTRACTORS,
    IMAGE_LEVEL,
    JUDGES,
    OTHERS,
    accuracy_rows,
)

METRICS = {
    "extractor_accuracy": accuracy_rows("extractor", {"cnn": (0.75, 1.0), "resnet": (0.5, 0.9)}),
    "judge_accuracy": accuracy_rows("judge", {JUDGES[0]: (0.9, 1.0), JUDGES[1]: (0.8, 1.0)}),
    "image_level": [*IMAGE_LEVEL, *OTHERS["image_level"]],
    "concept_level": [*CONCEPT_LEVEL, *OTHERS["concept_level"]],
    "codebook_level": CODEBOOK_LEVEL,
    "comparisons": [*COMPARISONS, *OTHERS["comparisons"], COMPARISONS[0] | {"label": 1, "difference": 0.987654}],
}
TRAINED = [f"{extractor}/{training}" for extractor in EXTRACTORS for training in (0, 1)]
SHOWN = [trained for trained in TRAINED if trained.endswith("/0")]


def with_trainings(rows):
    """Rows over all trainings, then the same of two trainings, which have no verdict."""
    if "extractor" not in rows[0]:
        return rows
    silent = {"p_corrected": None, "verdict": None} if "verdict" in rows[0] else {}
    return [
        row | {"training": training} | (silent if training is not None else {})
        for training in (None, 0, 1)
        for row in rows
    ]


def save(path, rows):
    """A table of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, pa.Table.from_pylist(rows))
    return path


def write_images(folder):
    """Two shards of 6 images: tars, token tables and decoded images; the tables together."""
    random = np.random.default_rng(0)
    samples = [
        Sample(
            key=f"test-{label:04d}-{index:06d}",
            label=label,
            grid=random.integers(0, 24, (4, 4)).astype(np.uint16),
            image=random.integers(0, 256, (8, 8, 3)).astype(np.uint8),
            info={"class_name": EVIL if label else "ant"},
        )
        for index in range(3)
        for label in (0, 1)
    ]
    (folder / "images").mkdir(parents=True)
    files = SimpleNamespace(shards=[], tokens=[], images=[])
    for name, part in (("000000", samples[:4]), ("000001", samples[4:])):
        files.shards.append(folder / f"{name}.tar")
        files.tokens.append(folder / f"{name}.parquet")
        files.images.append(folder / "images" / f"{name}.npy")
        write_shard(files.shards[-1], part)
        read_shard_tokens(files.tokens[-1], files.shards[-1], codes=24)
        decode_images(files.images[-1], files.shards[-1])
    return files


def write_scores(path, table):
    """Importance of the images of a token table, of random values."""
    images = read_tokens(table)
    values = np.random.default_rng(1).normal(size=images.tokens.shape).astype(np.float32)
    scored = Tokens(images.keys, images.labels, images.tokens, images.shape, {"importance": values})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tokens(path, scored, {"predicted": pa.array([1] * len(images), pa.int32())})
    return path


def write_search(folder, keys):
    """A codebook search of some images at two steps, and every judge's rows of the last; by extractor and judge."""
    found = [
        {"key": key, "method": method, "step": step, "source": place % 2, "target": 1 - place % 2}
        | {"positions": [5, 6, 9, 10], "tokens": [step] * 4}
        for place, key in enumerate(keys)
        for method in ("token_selection", "embedding")
        for step in (3, 6)
    ]
    judged = [
        {name: row[name] for name in ("key", "method", "source", "target", "step")}
        | {"target_probability_before": 0.1, "target_probability_after": 0.6}
        for row in found
        if row["step"] == 6
    ]
    search = [save(folder / "codebook" / f"{trained}.parquet", found) for trained in SHOWN]
    level = folder / "evaluation" / "codebook_level"
    return search, {
        judge: [save(level / trained / f"{judge}.parquet", judged) for trained in SHOWN] for judge in JUDGES
    }


def write_tables(folder):
    """Metrics, lists of tokens, histories and the manifest."""
    for name, rows in METRICS.items():
        save(folder / "metrics" / f"{name}.parquet", with_trainings(rows))
    lists = [
        {"label": label, "top_n": n, "list": kind, "rank": rank, "token": factor * rank + label, "count": 9 - rank}
        for kind, factor in (("count", 3), ("contrast", 2))
        for label in (0, 1)
        for n in (5, 10)
        for rank in range(4)
    ]
    frequent = [
        {"label": label, "list": kind, "rank": rank, "token": rank + label + shift, "count": 9}
        for kind, shift in (("count", 0), ("contrast", 9))
        for label in (0, 1)
        for rank in range(4)
    ]
    save(folder / "tokens" / "frequency.parquet", frequent)
    training = [{"epoch": e, "train_loss": 2.0 / e, "val_loss": 2.1 / e, "val_top1": 0.4 * e} for e in (1, 2)]
    for trained in TRAINED:
        save(folder / "tokens" / "tis" / f"{trained}.parquet", lists)
        save(folder / "extractors" / trained / "history.parquet", training)
    for judge in JUDGES:
        history = [{"epoch": 1, "held_out_top1": 0.5}, {"epoch": 2, "held_out_top1": 0.97}]
        save(folder / "judges" / judge / "history.parquet", history)
    shards = [{"split": "test", "shard": n, "samples": m, "bytes": 1000} for n, m in ((0, 4), (1, 2))]
    save(folder / "data" / "manifest.parquet", shards)


def draw_all(folder, files, scores, generator):
    """Every figure of the report."""
    drawn, metrics = folder / "figures", folder / "metrics"
    draw_samples(drawn / "samples.png", files.tokens, files.images, generator=generator)
    draw_training(
        drawn / "training.svg",
        extractors=TRAINED,
        extractor_histories=[folder / "extractors" / trained / "history.parquet" for trained in TRAINED],
        judges=tuple(JUDGES),
        judge_histories=tuple(folder / "judges" / judge / "history.parquet" for judge in JUDGES),
    )
    draw_importance(
        drawn / "importance.png", extractors=SHOWN, scores=scores, images=files.images[0], generator=generator
    )
    draw_tokens(
        drawn / "tokens.png",
        files.shards,
        extractors=SHOWN,
        concept_tokens=[folder / "tokens" / "tis" / f"{trained}.parquet" for trained in SHOWN],
        frequent_tokens=folder / "tokens" / "frequency.parquet",
        top_n=10,
        generator=generator,
    )
    for against in ("n", "area", "brightness"):
        draw_masking(drawn / f"masking_by_{against}.svg", metrics / "image_level.parquet", against=against)
    draw_concept_level(drawn / "concept_level.svg", metrics / "concept_level.parquet", metrics / "comparisons.parquet")
    draw_codebook_level(drawn / "codebook_level.svg", metrics / "codebook_level.parquet")
    search, evaluations = write_search(folder, read_tokens(files.tokens[0]).keys)
    for judge in JUDGES:
        draw_search(
            drawn / f"codebook_search.{judge}.png",
            files.tokens,
            files.images,
            extractors=SHOWN,
            search=search,
            evaluations=evaluations[judge],
            generator=generator,
            device="cpu",
        )


@pytest.fixture(scope="session")
def run(tmp_path_factory, generator_weights):
    """The run's folder with its report, its images' files, scores, and the arguments of the report."""
    folder = tmp_path_factory.mktemp("run")
    write_tables(folder)
    files = write_images(folder / "data" / "test")
    scores = [write_scores(folder / "importance" / f"{trained}.parquet", files.tokens[0]) for trained in SHOWN]
    draw_all(folder, files, scores, generator_weights)
    arguments = {
        "extractors": tuple(TRAINED),
        "judges": tuple(JUDGES),
        "top_n": 10,
        "settings": ("run=tiny", f'generator.weights="{EVIL}"'),
        "generator": generator_weights,
    }
    write_report(folder / "report.html", folder, **arguments)
    return SimpleNamespace(folder=folder, files=files, scores=scores, arguments=arguments)


class Page(HTMLParser):
    """What a page loads, shows and says."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.values: list[float] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "data":
            self.values.append(float(dict(attributes)["value"]))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="session")
def page(run):
    """The report of the run."""
    return Page((run.folder / "report.html").read_text())
