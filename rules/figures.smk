# The figures of the report: functions alone, which rules/report.smk calls.

from dataclasses import dataclass, field


@dataclass
class Figure:
    """A figure: its command's options, its place in Snakemake's report, and its files."""

    command: str
    category: str
    label: str
    inputs: dict
    options: str = ""
    kind: str = "svg"
    caption: str = ""
    more: list = field(default_factory=list)


def first_test(pattern):
    """A file of the first test shard."""
    return of_shards(pattern.replace("{split}", "test"), "test")[0]


def every(pattern, extractors=EXTRACTORS):
    """A file of every trained extractor."""
    return expand(pattern, extractor=extractors, allow_missing=True)


def figures():
    """The figures of the run by name: of what it has."""
    models, which = "1 Images, extractors, judges", "2 Which tokens"
    tests = {"tokens": of_shards(TOKENS, "test"), "images": of_shards(IMAGES, "test")}
    if TRAINED_EXTRACTORS:
        histories = {
            "extractor_histories": every(rules.train_extractor.output.history, TRAINED_EXTRACTORS),
            "judge_histories": expand(rules.train_judge.output.history, judge=TRAINED_JUDGES),
        }
        names = options({"extractors": TRAINED_EXTRACTORS, "judges": TRAINED_JUDGES or None})
        yield "training", Figure("training", models, "Training curves", histories, names)
    if EXTRACTORS and RECONSTRUCTED:
        shown = options(GENERATOR, DEVICE)
        title = "Pictures and decoded tokens"
        yield "reconstruction", Figure("reconstruction", models, title, tests, shown, "png", more=GENERATOR_FILES)
    if EXTRACTORS and PICTURES:
        yield "samples", Figure("samples", models, "Test images", tests, options(GENERATOR), kind="png")
        files = {"scores": every(first_test(first_method(SCORES)), SHOWN), "images": first_test(IMAGES)}
        named = options({"extractors": SHOWN}, GENERATOR)
        yield "importance", Figure("importance", which, "Token importance", files, named, kind="png")
    metrics = {level: {"metrics": f"{RUN}/metrics/{level}.parquet"} for level in LEVELS}
    for axis in ("n", "area", "brightness") if "image_level" in LEVELS else ():
        figure = Figure("masking", "3 Image level", f"Masking by {axis}", metrics["image_level"], f"--against {axis}")
        yield f"masking_by_{axis}", figure
    if "concept_level" in LEVELS:
        files = {**metrics["concept_level"], "comparisons": f"{RUN}/metrics/comparisons.parquet"}
        title, shown = "Concept against frequent tokens", options({"top_n": SHOWN_TOP_N})
        yield "concept_level", Figure("concept-level", "4 Concept level", title, files, shown)
    if "codebook_level" in LEVELS:
        category = "5 Codebook level"
        yield "codebook_level", Figure("codebook-level", category, "Before and after", metrics["codebook_level"])
        for judge in JUDGES:
            files = {
                **tests,
                "search": every(rules.codebook_search.output.tokens, SHOWN),
                "evaluations": expand(SEARCH_ROWS, extractor=SHOWN, judge=judge),
            }
            yield f"codebook_search.{judge}", Figure(
                "search", category, f"Images before and after, judge {judge}", files,
                options({"extractors": SHOWN}, GENERATOR, DEVICE), "png", "codebook_search", GENERATOR_FILES,
            )  # fmt: skip
