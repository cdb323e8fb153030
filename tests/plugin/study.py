"""A study from outside: how often the class's most frequent code stands among an image's most important positions."""

import numpy as np
import pyarrow as pa
from pydantic import Field

from cortex.core.settings import Count, Counts
from cortex.report.tables import Cell, Table, estimate, number
from cortex.report.topic import Finding, Topic
from cortex.studies.base import Study, StudySettings
from cortex.studies.checks import at_most_positions


class Frequent(StudySettings):
    """Shares of the most frequent code."""

    images_per_class: Count = Field(2, description="images of every class, the first of the test split")
    n: Counts = Field([4], description="most important positions of an image; a result for each")


def rows(inputs, settings, *, seed, device):
    """key, n, value: the share of the n positions that hold the most frequent code of the image's class."""
    images = inputs.first(settings.images_per_class)
    order = np.argsort(-images.scores["importance"], axis=1, kind="stable")
    by_rank = np.take_along_axis(images.tokens, order, axis=1)
    labels = images.labels.tolist()
    frequent = {label: np.bincount(images.tokens[images.labels == label].ravel()).argmax() for label in set(labels)}
    codes = np.array([frequent[label] for label in labels])[:, None]
    parts = [{"key": images.keys, "n": n, "value": (by_rank[:, :n] == codes).mean(1)} for n in settings.n]
    return pa.concat_tables(pa.table({**part, "n": [part["n"]] * len(images)}) for part in parts)


def section(rows):
    """The page's section: a row an extractor and n."""
    cells = [[Cell(row["extractor"]), number(row["n"]), estimate(row)] for row in rows]
    shares = Table(["extractor", "n", "share"], 1, cells)
    highest = max(row["value"] for row in rows)
    return Topic(
        title="The most frequent code",
        link="Frequent code",
        lead="The share of an image's most important positions that hold its class's most frequent code.",
        findings=[Finding(f"Highest share of the most frequent code: {highest:.2f}.")],
        tables=[("Shares", "Means over images.", shares)],
    )


STUDY = Study(
    settings=Frequent,
    rows=f"{__name__}:rows",
    by=("n",),
    page=f"{__name__}:section",
    checks=lambda settings, config, spec: at_most_positions("n", settings.n, spec),
)
