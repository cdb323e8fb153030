"""A run's results as the report reads them: the place that knows the paths, columns and trainings of its tables.

An extractor may be trained several times. Rows with ``training`` null are over all its trainings; rows with training -1
are of scores that were averaged over them. Claims are made from rows over all trainings.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from cortex.core.errors import InputError, shown
from cortex.core.tables import check_columns, read_table
from cortex.data.manifest import manifest_of, shards_of
from cortex.extractors.names import AVERAGE, join_name, split_name
from cortex.report.rows import Row, Rows, groups, select

Source = Literal["drawn", "imported", "pictures"]  # of the test images
FEW_RIGHT = 0.6  # of a class's images: where a judge assigns fewer to the class, masks say little
LEVELS = ("image_level", "concept_level", "codebook_level")
COMPARED = ("level", "attribution", "extractor", "training", "judge", "baseline", "setting", "area", "label", "verdict")
_COLUMNS = {"list": pa.types.is_string} | dict.fromkeys(("label", "rank", "token"), pa.types.is_integer)
Lists = Mapping[int, Sequence[int]]  # tokens by label, the first first
READING = ["label", "predicted"]
ListName = tuple[str, int | None]  # kind, count or contrast; top_n, None for the most frequent tokens


def read_rows(path: Path) -> list[Row]:
    """The rows of a table.

    Raises:
        InputError: the file is missing or damaged.
    """
    rows: list[Row] = read_table(path).to_pylist()
    return rows


def read_comparisons(path: Path) -> list[Row]:
    """The comparisons over all images. Those of single classes, 200 times as many of 1000 classes, stay in the file.

    Raises:
        InputError: the file is missing or damaged, or is of other columns.
    """
    table = read_table(path)
    check_columns(path, table, COMPARED)
    rows: list[Row] = table.filter(pc.field("label").is_null()).to_pylist()
    return rows


def most_accurate(rows: Rows) -> str:
    """The extractor of highest accuracy on test images, at the least k.

    Args:
        rows: of metrics/extractor_accuracy.parquet.
    """
    of_test = select(claims(rows), split="test")
    at_least_k = select(of_test, k=min(row["k"] for row in of_test))
    best: str = max(at_least_k, key=lambda row: row["accuracy"])["extractor"]
    return best


def claims(rows: Rows) -> list[Row]:
    """Rows over all trainings of an extractor; all rows of a table that has none of these."""
    return [row for row in rows if row.get("training") is None] or list(rows)


def trainings(rows: Rows) -> list[Row]:
    """Rows of single trainings, of extractors that have several."""
    found = [row for row in rows if row.get("training") not in (None, AVERAGE)]
    counts = Counter(extractor for extractor, _ in groups(found, "extractor", "training"))
    return [row for row in found if counts[row["extractor"]] > 1]


def averaged(rows: Rows) -> list[Row]:
    """Rows of scores that were averaged over trainings."""
    return [row for row in rows if row.get("training") == AVERAGE]


def each_judge(rows: Rows) -> list[Row]:
    """Rows of single judges, without those of their mean."""
    return [row for row in rows if row["judge"] is not None]


def of_first(rows: Rows) -> list[Row]:
    """Rows of the first method of importance."""
    return select(rows, attribution=rows[0]["attribution"]) if rows else []


@dataclass(frozen=True)
class Reader:
    """An extractor's training or a judge, and whether it reads the classes at all.

    Args:
        kind: extractor or judge.
        name: of it.
        training: of an extractor; None for a judge.
        accuracy, low, high: top-1 accuracy on the test images, with its 95 % interval.
        chance: accuracy of guessing.
        valid: whether the interval is above chance.
    """

    kind: str
    name: str
    training: int | None
    accuracy: float
    low: float
    high: float
    chance: float
    valid: bool

    def concerns(self, row: Row) -> bool:
        """Whether a row of a table depends on it: one over all judges, or over all trainings, depends on each.

        In tables with a column ``measure``, rows without a judge have measures that no judge reads.
        """
        if self.kind == "judge":
            over_all = "judge" in row and row["judge"] is None and "measure" not in row
            return over_all or row.get("judge") == self.name
        return row.get("extractor") == self.name and row.get("training") in (None, AVERAGE, self.training)


@dataclass(frozen=True)
class RunFiles:
    """Files of a run that the page is made of.

    Args:
        run: its folder.
        extractors: trained extractors, such as cnn/0.
        judges: names of the judges.
        levels: levels that were judged.
        studies: names of the studies.
        methods: methods of importance; the page shows the first.
        tokens: tokens of a list; files may have more.
        real: whether the images are real pictures.
    """

    run: Path
    extractors: tuple[str, ...]
    judges: tuple[str, ...]
    levels: tuple[str, ...]
    studies: tuple[str, ...]
    methods: tuple[str, ...]
    tokens: int
    real: bool = False

    def check(self) -> None:
        """Raise an InputError unless the run has the extractors, the judges and the methods."""
        rows = self.metrics["extractor_accuracy"]
        judged = self.metrics["judge_accuracy"] if self.judges else []
        known = {
            "extractors": {join_name(row["extractor"], row["training"]) for row in rows if row["training"] is not None},
            "judges": {row["judge"] for row in judged},
            "methods": {folder.name for folder in (self.run / "tokens").iterdir() if folder.is_dir()},
        }
        for option, names in known.items():
            if missing := [name for name in getattr(self, option) if name not in names]:
                raise InputError(f"--{option} {shown(missing[0])}: {self.run} has: {', '.join(sorted(names))}")

    @property
    def best(self) -> str:
        """The extractor of the highest accuracy."""
        mine = {split_name(name)[0] for name in self.extractors}
        return most_accurate([row for row in self.metrics["extractor_accuracy"] if row["extractor"] in mine])

    @property
    def method(self) -> str:
        """The method of importance that pictures show."""
        return self.methods[0]

    @cached_property
    def metrics(self) -> dict[str, list[Row]]:
        """Rows of the tables of metrics that the run has, by name."""
        names = ["validity", "extractor_accuracy", *(["judge_accuracy"] if self.judges else []), *self.levels]
        names += ["reconstruction"] if self.real and self.metrics_path("reconstruction").exists() else []
        names += ["agreement"] if len(self.extractors) > 1 and self.metrics_path("agreement").exists() else []
        found = {name: read_rows(self.metrics_path(name)) for name in (*names, *self.studies)}
        if self.levels:
            found["comparisons"] = read_comparisons(self.metrics_path("comparisons"))
        return found

    def metrics_path(self, name: str) -> Path:
        """The file of a table of metrics."""
        return self.run / "metrics" / f"{name}.parquet"

    @cached_property
    def readers(self) -> list[Reader]:
        """Trainings of extractors, and judges, with their validity."""
        return [Reader(**row) for row in self.metrics["validity"]]

    @cached_property
    def frequent(self) -> Lists:
        """The most frequent tokens of every class."""
        return read_lists(self.run / "tokens" / "frequency.parquet", self.tokens)["count", None]

    @cached_property
    def codes(self) -> Mapping[int, Row]:
        """What the dictionary says of a token: kind, classes, class_share and sure."""
        rows = read_table(self.run / "codes.parquet", ["token", "kind", "classes", "class_share", "sure"]).to_pylist()
        return {row["token"]: row for row in rows}

    @cached_property
    def readings(self) -> dict[str, list[Row]]:
        """Label and predicted class of every test image, by judge."""
        folder = self.run / "evaluation" / "judge_accuracy"
        return {judge: read_table(folder / f"{judge}.parquet", READING).to_pylist() for judge in self.judges}

    def lists(self, extractor: str) -> dict[ListName, Lists]:
        """Concept tokens by an extractor's training, or by scores averaged over trainings; see :func:`read_lists`."""
        return read_lists(self._of_method("tokens", f"{extractor}.parquet"), self.tokens)

    def scores(self, extractor: str) -> list[Path]:
        """Importance files of the test split."""
        folder = self._of_method("importance", extractor) / "test"
        return [folder / f"{shard}.parquet" for shard in self.shards]

    @cached_property
    def shards(self) -> list[str]:
        """Names of the shards of the test split."""
        return shards_of(self.run, "test")

    def _of_method(self, place: str, name: str) -> Path:
        """A file of the shown method of importance."""
        return self.run / place / self.method / name

    def shown(self, name: str) -> str:
        """What pictures show of an extractor: its averaged scores where there are any, else its first training."""
        average = join_name(name, AVERAGE)
        exists = self._of_method("tokens", f"{average}.parquet").exists()
        return average if exists and len(self.trainings(name)) > 1 else self.trainings(name)[0]

    def trainings(self, name: str) -> list[str]:
        """The trainings of an extractor."""
        return [one for one in self.extractors if split_name(one)[0] == name]

    def changes_by_class(self, extractor: str, n: int) -> dict[tuple[int, str], Row]:
        """By label and method, means over images and judges at the image level: probability_change, masked_fraction.

        Args:
            extractor: a training, or averaged scores.
            n: number of masked codes.
        """
        folder = self._of_method("evaluation/image_level", extractor)
        columns = ["probability_change", "masked_fraction"]
        paths = [folder / judge / f"{shard}.parquet" for judge in self.judges for shard in self.shards]
        if missing := [path for path in paths if not path.is_file()]:
            raise InputError(f"{missing[0]}: no such evaluation of the image level")
        rows = ds.dataset(paths).to_table(columns=["label", "method", *columns], filter=pc.field("n") == n)
        found = rows.group_by(["label", "method"]).aggregate([(name, "mean") for name in columns]).to_pylist()
        return {(row["label"], row["method"]): {name: row[f"{name}_mean"] for name in columns} for row in found}

    @property
    def trains(self) -> bool:
        """Whether the run trained an extractor; others were trained elsewhere."""
        return any((self.run / "extractors" / one / "history.parquet").exists() for one in self.extractors)

    @property
    def histories(self) -> dict[str, Path | None]:
        """By judge, its history; None where it was trained elsewhere."""
        paths = {judge: self.run / "judges" / judge / "history.parquet" for judge in self.judges}
        return {judge: path if path.exists() else None for judge, path in paths.items()}

    @property
    def manifest(self) -> Path:
        """The list of shards."""
        return manifest_of(self.run)

    def tables(self) -> list[Path]:
        """Tables whose origin the page states."""
        found = [*map(self.metrics_path, self.metrics), self.manifest]
        found += [self._of_method("tokens", f"{extractor}.parquet") for extractor in self.extractors]
        return [*found, self.run / "tokens" / "frequency.parquet", *(path for path in self.histories.values() if path)]


def read_lists(path: Path, tokens: int) -> dict[ListName, Lists]:
    """Lists of tokens by kind and top_n.

    Args:
        path: the file.
        tokens: tokens of a list at most.

    Raises:
        InputError: there are none.
    """
    found: dict[ListName, dict[int, list[int]]] = {}
    table: pa.Table = read_table(path)
    for name, is_right in _COLUMNS.items():
        if name not in table.column_names or not is_right(table[name].type) or table[name].null_count:
            raise InputError(f"{path}: not a table of tokens: column {name} is missing, of another kind or has nulls")
    if "top_n" in table.column_names and not pa.types.is_integer(table["top_n"].type):
        raise InputError(f"{path}: not a table of tokens: column top_n is no number")
    table = table.filter(pc.field("rank") < tokens).sort_by("rank")
    top_n = table["top_n"].to_pylist() if "top_n" in table.column_names else [None] * len(table)
    columns = (table[name].to_pylist() for name in ("list", "label", "token"))  # rows of 1000 classes would be 0.4 GB
    for number, kind, label, token in zip(top_n, *columns, strict=True):
        found.setdefault((kind, number), {}).setdefault(label, []).append(token)
    if not found:
        raise InputError(f"{path}: no tokens")
    return dict(found)


def shown_list(lists: Mapping[ListName, Any], top_n: int) -> ListName:
    """Which of the lists to show: contrast tokens where there are any, of a number of positions.

    Raises:
        InputError: there is no list of this number.
    """
    for kind in ("contrast", "count"):
        if (kind, top_n) in lists:
            return kind, top_n
    allowed = sorted({n for _, n in lists if n is not None})
    raise InputError(f"top_n = {top_n}: concept tokens of the run: {', '.join(map(str, allowed))}")
