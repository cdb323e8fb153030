"""A run's folder with its report: files that the page is made of."""

from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from cortex.data.tokens import read_tokens
from cortex.report.draw.images import draw_importance, draw_samples
from cortex.report.draw.metrics import draw_codebook_level, draw_concept_level, draw_masking, draw_training
from cortex.report.draw.search import draw_search
from cortex.report.html import write_report
from tests.unit.report.example import (
    EVIL,
    EXTRACTORS,
    JUDGES,
    METHODS,
    TOP_N,
    TRAINED,
    random_images,
    write_run,
    write_search,
)


def draw_all(folder, files, generator):
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
        drawn / "importance.png",
        extractors=TRAINED,
        scores=[files.scores["tis", trained][0] for trained in TRAINED],
        images=files.images[0],
        generator=generator,
    )
    for against in ("n", "area", "brightness"):
        draw_masking(drawn / f"masking_by_{against}.svg", metrics / "image_level.parquet", against=against)
    draw_concept_level(
        drawn / "concept_level.svg", metrics / "concept_level.parquet", metrics / "comparisons.parquet", top_n=TOP_N
    )
    draw_codebook_level(drawn / "codebook_level.svg", metrics / "codebook_level.parquet")
    search, evaluations = write_search(folder, read_tokens(files.tokens[0]).keys)
    for judge in JUDGES:
        draw_search(
            drawn / f"codebook_search.{judge}.png",
            files.tokens,
            files.images,
            extractors=[f"{extractor}/0" for extractor in EXTRACTORS],
            search=search,
            evaluations=evaluations[judge],
            generator=generator,
            device="cpu",
        )


@pytest.fixture(scope="session")
def run(tmp_path_factory, generator_weights):
    """The run's folder with its report, its images' files, and the arguments of the report."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    files = write_run(folder, *random_images())
    draw_all(folder, files, generator_weights)
    arguments = {
        "extractors": tuple(TRAINED),
        "top_n": TOP_N,
        "methods": tuple(METHODS),
        "judges": tuple(JUDGES),
        "shard": files.shards[0],
        "settings": ("run=tiny", f'generator.weights="{EVIL}"'),
        "generator": generator_weights,
    }
    write_report(folder / "report.html", folder, **arguments)
    return SimpleNamespace(folder=folder, files=files, arguments=arguments)


class Page(HTMLParser):
    """What a page loads, shows and says."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.values: list[float] = []
        self.feed(text)

    @property
    def words(self) -> str:
        """What it says, with single spaces."""
        return " ".join(self.text.split())

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
