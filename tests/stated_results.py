"""The numbers of land use in docs/results.md, and of README's answers: python -m tests.stated_results RUN prints them.

RUN is the folder of a finished `make full`. Of `make run`, the numbers of studies are left out. Sampled tokens depend
on the kind of processor, and so do the numbers.
"""

import sys
from itertools import product
from pathlib import Path

import pandas as pd

EXTRACTORS = ["cnn", "resnet", "transformer"]
CENTRED = {"correlation": "", "own_correlation": "centred: "}


class Stated:
    """Prints results of a run, a line each.

    Args:
        run: folder of the run.
    """

    def __init__(self, run: Path):
        self.run = run

    def table(self, name: str) -> pd.DataFrame:
        """A table of metrics; of trained extractors, the rows over all trainings."""
        rows = pd.read_parquet(self.run / "metrics" / f"{name}.parquet")
        return rows[rows["training"].isna()] if "training" in rows and rows["training"].isna().any() else rows

    def say(self, name: str, *values: float, digits: int = 2, percent: bool = False) -> None:
        """Print a result."""
        shown = [f"{100 * value:.0f} %" if percent else f"{value:.{digits}f}".replace("-", "−") for value in values]
        print(f"{name}: {', '.join(shown)}")

    def by_extractor(self, name: str, rows: pd.DataFrame, column: str = "value", **options: bool) -> None:
        """Print means of a column for CE, RE and TE, as far as there are rows."""
        means = rows.groupby("extractor")[column].mean()
        self.say(
            f"{name} ({', '.join(e for e in EXTRACTORS if e in means)})", *means.reindex(EXTRACTORS).dropna(), **options
        )

    def accuracies(self) -> None:
        """Accuracies of extractors and judges."""
        extractors, judges = self.table("extractor_accuracy"), self.table("judge_accuracy")
        self.by_extractor("accuracy", extractors[extractors.k == 1], "accuracy", percent=True)
        for judge, accuracy in judges[judges.k == 1].groupby("judge").accuracy.mean().items():
            self.say(f"judge {judge}", accuracy, percent=True)

    def levels(self) -> None:
        """Changes of probability by level, explanation and baseline; verdicts."""
        image, concept, search = (self.table(f"{level}_level") for level in ("image", "concept", "codebook"))
        for method, rows in image.groupby("method"):
            self.say(f"image level, {method}: change", rows.probability_change.mean())
            self.say("– area, brightness", rows.masked_fraction.mean(), rows.masked_brightness.mean(), percent=True)
        for (kind, area, method), rows in concept.groupby(["list", "area", "method"], dropna=False):
            self.say(f"concept level, {kind}, area {area:g}, {method}: change", rows.probability_change.mean())
            self.say("– area", rows.masked_fraction.mean(), percent=True)
        for method, rows in search[search.judge.notna()].groupby("method"):
            before, after = rows.target_probability_before.mean(), rows.target_probability_after.mean()
            self.say(f"codebook level, {method}: before, after", before, after)
        tested = self.table("comparisons")
        tested = tested[tested.verdict.notna() & tested.label.isna()]
        by = ["level", "baseline", "list", tested.area.notna()]
        print(tested.groupby(by, dropna=False).verdict.value_counts().to_string())

    def agreement(self) -> None:
        """Agreement of two trainings."""
        rows = pd.read_parquet(self.run / "metrics" / "agreement.parquet")
        rows = rows[(rows.extractor == rows.other_extractor) & (rows.training >= 0)]
        for measure in CENTRED:
            self.by_extractor(measure, rows[rows.measure == measure])
        first = rows[(rows.measure == "token_overlap") & (rows.list == "contrast") & (rows.n == 5)]
        self.by_extractor("first five contrast tokens that are the same", first, percent=True)
        self.say("– of five", 5 * first.value.mean(), digits=1)

    def attributions(self) -> None:
        """Verdicts of other attributions beside the importance, at equal area."""
        rows = self.table("attributions")
        rows = rows[(rows.curve_axis == "masked_fraction") & rows.judge.isna() & rows.verdict.notna()]
        print(rows.verdict.value_counts().to_string())
        for row in rows[rows.verdict != "no difference found"].itertuples():
            print(f"{row.method}, {row.extractor}: {row.verdict}")

    def sanity(self) -> None:
        """Correlations with the scores of the trained extractor."""
        rows = self.table("sanity")
        for (measure, centred), test in product(CENTRED.items(), ("trained", "randomised", "shuffled")):
            of_test = rows[(rows.measure == measure) & (rows.test == test)]
            last = of_test[of_test.step == of_test.groupby("extractor").step.transform("max")]
            self.by_extractor(f"sanity, {centred}{test}", last)
        even = rows[(rows.measure == "even_share") & (rows.test == "trained")]
        for row in even.itertuples():
            self.say(
                f"{row.extractor}: % of the five highest positions on even rows and columns", 100 * row.value, digits=1
            )

    def stability(self) -> None:
        """Overlap of two sets of copies; how scores rank positions, beside Shapley values."""
        rows = self.table("stability")
        rows = rows[(rows.measure == "overlap") & (rows.samples == 20) & (rows.other_samples == 20)]
        self.by_extractor("five highest positions by two sets of 20 copies", rows, percent=True)
        rows = self.table("combinations")
        rows = rows[rows.measure == "correlation"]
        for method in ("importance", "single"):
            self.by_extractor(f"rank correlation with Shapley values, {method}", rows[rows.method == method])

    def transfer(self) -> None:
        """Probabilities of the target at the last step, by reader; likelihood of a token."""
        rows = self.table("transfer")
        last = rows[(rows.selection == "last") & rows.baseline.isna()]
        likely = (last.measure == "log_likelihood") & (last.reader == "target")  # the prior, given the target class
        last = last[(last.measure == "probability") | likely]
        for (method, kind, measure), values in last.groupby(["method", "kind", "measure"]):
            self.say(f"transfer, {method}, {kind}, {measure}", values.value.mean())
        tested = rows[rows.verdict.notna() & (rows.selection == "last") & (rows.baseline == "random_codes")]
        print(tested.groupby("kind").verdict.value_counts().to_string())

    def bias(self) -> None:
        """Bias to haze: shares of the first group."""
        rows = self.table("bias")
        rows = rows[rows.list == "contrast"]
        self.say("bias, accuracy", rows.accuracy.iloc[0], percent=True)
        for row in rows[rows.label.isna()].itertuples():
            shares = row.share, row.share_low, row.share_high, row.property_share
            self.say(f"bias, {row.set}, true share {row.true_share:g}: share, low, high, by pixels", *shares)
        for row in rows[rows.label.notna() & (rows.set == "neutral")].itertuples():
            self.say(f"bias, {row.class_name}: lean, low, high", row.delta, row.low, row.high)

    def planted(self) -> None:
        """The planted benchmark: the recommended method, and plain grids by extractor."""
        for row in pd.read_parquet(self.run / "studies" / "planted" / "recommended.parquet").itertuples():
            self.say(f"planted, {row.method}: all but chance, all", row.precision, row.precision_all, percent=True)
        rows = self.table("planted")
        plain = rows[(rows.variant == "plain") & rows.method.notna() & (rows.truth == "planted")]
        plain = plain[(plain.what != "positions") | (plain.split == "test")]
        accuracy = rows[(rows.variant == "plain") & (rows.measure == "accuracy") & (rows.split == "test")]
        self.by_extractor("planted, accuracy", accuracy, percent=True)
        for (what, kind, method, n, measure), values in plain.groupby(
            ["what", "list", "method", "n", "measure"], dropna=False
        ):
            if (what, n) in {("positions", 8), ("codes", 4), ("codes", 8), ("codes", 16)}:
                self.by_extractor(f"planted, {what}, list {kind}, {method}, {measure} of {n:g}", values, percent=True)
        searched = rows[(rows.method == "token_selection") & (rows.measure == "precision")]
        for (variant, truth), values in searched.groupby(["variant", "truth"]):
            self.by_extractor(f"planted, {variant}, tokens of token selection that are {truth}", values, percent=True)

    def codes(self) -> None:
        """Kinds of codes, the codes that mark each class, and effects of single codes."""
        codes, rows = (pd.read_parquet(self.run / f"{name}.parquet") for name in ("codes", "dictionary"))
        for kind, of_kind in codes.groupby("kind"):
            print(f"{kind}: {len(of_kind)}, of these of a probability below 0.9: {(of_kind.sure < 0.9).sum()}")
        marking = rows[rows.token.isin(codes.token[codes.kind == "marks a class"])]
        marking = marking.loc[marking.groupby("token").class_share.idxmax()]
        for name, of_class in marking.groupby("class_name"):
            first = of_class.nlargest(3, "class_share")
            shares = ", ".join(f"{row.token} ({row.class_share:.2f})" for row in first.itertuples())
            print(f"{name}: {len(of_class)}, the first {shares}")
        for cause in ("masked", "placed"):
            measured = rows[rows[f"{cause}_images"] > 1]
            more, less = (
                (sign * measured[end] > 0).sum()
                for sign, end in ((1, f"{cause}_excess_low"), (-1, f"{cause}_excess_high"))
            )
            print(f"{cause}: {len(measured)} pairs; above random {more}, below {less}")
        self.say("median spread of a patch", codes.spread.median(), digits=0)


def main() -> None:
    """Print the numbers of a run."""
    stated = Stated(Path(sys.argv[1] if len(sys.argv) > 1 else "results/landuse"))
    for part in (stated.accuracies, stated.levels, stated.agreement, stated.codes):
        part()
    if (stated.run / "metrics" / "sanity.parquet").exists():
        for part in (
            stated.attributions,
            stated.sanity,
            stated.stability,
            stated.transfer,
            stated.bias,
            stated.planted,
        ):
            part()


if __name__ == "__main__":
    main()
