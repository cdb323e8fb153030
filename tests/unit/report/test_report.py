"""The report says what the tables say, holds all that it shows, and names what was lost."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from docutils.core import publish_parts
from matplotlib import colormaps

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.shard_reader import Sample, read_shard
from cortex.data.shard_writer import write_shard
from cortex.evaluate import codebook_level, concept_level, image_level
from cortex.report import CAPTIONS, figures, findings, settings_in_words
from cortex.report.curves import draw_codebook_level, draw_concept_level, draw_masking, draw_training
from cortex.report.decoded import draw_search
from cortex.report.html import FIGURES, caption, judges_table, origin, write_report
from cortex.report.pictures import draw_importance, draw_samples, draw_tokens, first_of_classes, mean_patches

EXTRACTORS, JUDGES = ["cnn", "resnet"], ["vit", "<b>judge</b>"]
NOTHING = "no difference found"
EVIL = "<script>alert('cat')</script> $1_{2$"


def with_intervals(measures):
    """Measures, each with the ends of an interval."""
    ends = {"": 0, "_low": -0.0625, "_high": 0.03125}
    return {name + end: value + off for name, value in measures.items() for end, off in ends.items()}


def image_row(extractor, judge, method, n, change, fraction=0.1, brightness=0.2):
    measures = {
        "probability": 0.9 + change,
        "probability_change": change,
        "logit": 4 + change,
        "logit_change": change,
        "masked_fraction": fraction,
        "masked_brightness": brightness,
    }
    of = {"extractor": extractor, "judge": judge, "method": method, "n": n, "samples": 12}
    return of | with_intervals(measures)


def compared(level, rows, verdict_of):
    """A comparison with every baseline that the method's rows stand beside, with the verdict of ``verdict_of(row)``."""
    setting = {"image_level": "n", "concept_level": "top_n"}.get(level)
    method = "token_selection" if level == "codebook_level" else "importance"
    found = []
    for row in rows:
        for baseline in dict.fromkeys(other["method"] for other in rows if other["method"] != method):
            if row["method"] == method:
                value = row[setting] if setting else None
                of = {"level": level, "extractor": row["extractor"], "judge": row["judge"], "method": method}
                verdict = verdict_of(row["extractor"], row["judge"], baseline, value)
                numbers = {"pairs": 12, "difference": -0.1, "low": -0.15, "high": -0.04, "effect_size": None, "p": 0.01}
                found.append(
                    {**of, "baseline": baseline, "setting": value, "label": None, **numbers}
                    | {"p_corrected": 0.03125, "verdict": verdict}
                )
    return found


def concept_row(extractor, judge, method, top_n, change, fraction):
    return image_row(extractor, judge, method, None, change, fraction) | {"top_n": top_n, "tokens": 5}


def codebook_row(extractor, judge, method, before, after):
    both = {f"{which}_logit_{when}": 1.0 for which in ("source", "target") for when in ("before", "after")}
    source = {"source_probability_before": 0.8, "source_probability_after": 0.1}
    target = {"target_probability_before": before, "target_probability_after": after}
    of = {"extractor": extractor, "judge": judge, "method": method, "samples": 4}
    return of | with_intervals(both | source | target)


IMAGE_LEVEL = [
    image_row(extractor, judge, method, n, change * n, fraction=0.05 * n, brightness=hidden * n)
    for extractor in EXTRACTORS
    for judge in JUDGES
    for method, change, hidden in (
        ("importance", -0.1, 0.02),
        ("random", -0.05, 0.01),
        ("random_area", -0.15, 0.05),
    )
    for n in (1, 4)
]


def image_verdict(extractor, judge, baseline, n):
    """Worse than random for cnn and the second judge at n = 4; no different from random_area for resnet."""
    if baseline == "random":
        return "worse" if (extractor, judge, n) == ("cnn", JUDGES[1], 4) else "better"
    return NOTHING if extractor == "resnet" else "better"


CONCEPT_LEVEL = [
    concept_row("cnn", JUDGES[0], "importance", 5, -0.3, 0.2),
    concept_row("cnn", JUDGES[0], "importance", 10, -0.25, 0.3),
    concept_row("cnn", JUDGES[0], "frequency", None, -0.2, 0.25),
    concept_row("resnet", JUDGES[0], "importance", 5, -0.1, 0.2),
    concept_row("resnet", JUDGES[0], "importance", 10, -0.2, 0.2),
    concept_row("resnet", JUDGES[0], "frequency", None, -0.2, 0.25),
]
CODEBOOK_LEVEL = [
    codebook_row("cnn", JUDGES[0], "token_selection", 0.1, 0.7),
    codebook_row("cnn", JUDGES[0], "embedding", 0.1, 0.3),
    codebook_row("resnet", JUDGES[0], "token_selection", 0.1, 0.05),
    codebook_row("resnet", JUDGES[0], "embedding", 0.1, 0.2),
]
COMPARISONS = [
    *compared("image_level", IMAGE_LEVEL, image_verdict),
    *compared("concept_level", CONCEPT_LEVEL, lambda extractor, *_: "better" if extractor == "cnn" else NOTHING),
    *compared("codebook_level", CODEBOOK_LEVEL, lambda extractor, *_: "better" if extractor == "cnn" else "worse"),
]


def accuracy_rows(column, values):
    return [
        {column: name, "split": "test", "k": k, **with_intervals({"accuracy": accuracy}), "samples": 12}
        for name, accuracies in values.items()
        for k, accuracy in zip((1, 2), accuracies, strict=True)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory, generator_weights):
    """The files of a run of two classes that the report is made of, drawn and written by the report's stages."""
    folder = tmp_path_factory.mktemp("run")
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
    shards = [folder / "test" / "000000.tar", folder / "test" / "000001.tar"]
    write_shard(shards[0], samples[:4])
    write_shard(shards[1], samples[4:])

    def table(name, rows):
        write_table(folder / f"{name}.parquet", pa.Table.from_pylist(rows))
        return folder / f"{name}.parquet"

    def per(names, what, rows_of):
        return [table(f"{what}-{place}", rows_of(name)) for place, name in enumerate(names)]

    metrics = {
        "extractor_accuracy": accuracy_rows("extractor", {"cnn": (0.75, 1.0), "resnet": (0.5, 0.9)}),
        "judge_accuracy": accuracy_rows("judge", {JUDGES[0]: (0.9, 1.0), JUDGES[1]: (0.8, 1.0)}),
        "image_level": IMAGE_LEVEL,
        "concept_level": CONCEPT_LEVEL,
        "codebook_level": CODEBOOK_LEVEL,
        "comparisons": [*COMPARISONS, COMPARISONS[0] | {"label": 1, "difference": 0.987654}],
    }
    files = {name: table(name, rows) for name, rows in metrics.items()}
    token_rows = [
        {"label": label, "top_n": n, "rank": rank, "token": 3 * rank + label, "count": 9 - rank}
        for label in (0, 1)
        for n in (5, 10)
        for rank in range(4)
    ]
    frequent = [
        {"label": label, "rank": rank, "token": rank + label, "count": 9} for label in (0, 1) for rank in range(4)
    ]
    histories = per(
        JUDGES, "judge", lambda _: [{"epoch": 1, "held_out_top1": 0.5}, {"epoch": 2, "held_out_top1": 0.97}]
    )
    training = [{"epoch": e, "train_loss": 2.0 / e, "val_loss": 2.1 / e, "val_top1": 0.4 * e} for e in (1, 2)]
    importance = [
        {"key": s.key, "predicted": 1, "importance": random.normal(size=16).tolist()} for s in reversed(samples[:4])
    ]
    found = [
        {
            "key": s.key,
            "method": method,
            "step": step,
            "source": s.label,
            "target": 1 - s.label,
            "positions": [5, 6, 9, 10],
            "tokens": [step] * 4,
        }
        for s in samples[:4]
        for method in ("token_selection", "embedding")
        for step in (3, 6)
    ]
    judged = [
        {name: row[name] for name in ("key", "method", "source", "target", "step")}
        | {"target_probability_before": 0.1, "target_probability_after": 0.6}
        for row in found
        if row["step"] == 6
    ]
    tokens, frequency = per(EXTRACTORS, "tokens", lambda _: token_rows), table("frequency", frequent)
    drawn = folder / "figures"
    draw_samples(drawn / "samples.png", shards)
    draw_training(
        drawn / "training.svg",
        extractors=EXTRACTORS,
        extractor_histories=per(EXTRACTORS, "extractor", lambda _: training),
        judges=JUDGES,
        judge_histories=histories,
    )
    scores = per(EXTRACTORS, "importance", lambda _: importance)
    draw_importance(drawn / "importance.png", shards[0], extractors=EXTRACTORS, importance=scores)
    draw_tokens(drawn / "tokens.png", shards, frequency, extractors=EXTRACTORS, tokens=tokens, top_n=10)
    masking = [drawn / f"masking_by_{share}.svg" for share in ("n", "area", "brightness")]
    draw_masking(*masking, files["image_level"])
    draw_concept_level(drawn / "concept_level.svg", files["concept_level"], files["comparisons"])
    draw_codebook_level(drawn / "codebook_level.svg", files["codebook_level"])
    search = per(EXTRACTORS, "search", lambda _: found)
    evaluations = per(EXTRACTORS, "judged", lambda _: judged)
    for judge in ("vit", "resnet"):
        path = drawn / f"codebook_search.{judge}.png"
        draw_search(
            path,
            shards,
            extractors=EXTRACTORS,
            search=search,
            evaluations=evaluations,
            generator=generator_weights,
            device="cpu",
        )
    manifest = [{"split": "test", "shard": n, "samples": m, "bytes": 1000} for n, m in ((0, 4), (1, 2))]
    arguments = {
        **files,
        "figures": sorted(drawn.iterdir()),
        "judges": JUDGES,
        "trained_judges": JUDGES,
        "judge_histories": histories,
        "extractors": EXTRACTORS,
        "tokens": tokens,
        "frequency": frequency,
        "top_n": 10,
        "manifest": table("manifest", manifest),
        "settings": ["run=tiny", f'generator.weights="{EVIL}"'],
        "generator": generator_weights,
    }
    write_report(folder / "report.html", **arguments)
    return {"folder": folder, "shards": shards, "arguments": arguments, "scores": scores}


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


@pytest.fixture(scope="module")
def page(run):
    return Page((run["folder"] / "report.html").read_text())


def test_page_needs_no_other_file_and_no_network(page):
    for tag, attributes in page.tags:
        assert tag != "script"
        for name in ("src", "href", "srcset", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes[name])
    style = " ".join(attributes.get("style", "") for _, attributes in page.tags) + page.text
    assert "url(" not in style and "@import" not in style
    assert page.all("meta")[-1]["content"].startswith("default-src 'none'")
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert all(link["href"].removeprefix("#") in targets for link in page.all("a"))


def test_every_figure_is_inlined_with_its_caption_and_alternative_text(run, page):
    words = " ".join(page.text.split())
    images = page.all("img")
    assert len(images) == len(run["arguments"]["figures"]) == len(page.all("figure")) == len(page.all("figcaption"))
    inlined = {base64.b64decode(image["src"].partition(",")[2]) for image in images}
    assert inlined == {path.read_bytes() for path in run["arguments"]["figures"]}
    for name in FIGURES:
        title, text = caption(name)
        assert title in words and text in words and any(image["alt"].startswith(title) for image in images)


def test_tables_hold_every_number_of_the_metrics(run, page):
    names = ("extractor_accuracy", "judge_accuracy", "image_level", "concept_level", "codebook_level")
    tables = {name: read_table(run["arguments"][name]).to_pylist() for name in names}
    for name, rows in (tables | {"comparisons": [row | {"p": None} for row in COMPARISONS]}).items():
        for row in rows:
            for column, value in row.items():
                if isinstance(value, str):
                    assert value in page.text or column == "level"
                elif value is not None:
                    assert value in page.values, (name, column, value)
    assert 0.987654 not in page.values  # single classes are in the file only


def test_a_judge_trained_elsewhere_is_shown_without_a_history():
    accuracy = [{"judge": "b16", "split": "test", "k": 1, **with_intervals({"accuracy": 0.75})}]
    seen = [{"judge": "b16", "probability": 0.25, "probability_change": -0.5}]
    (row,) = judges_table({"b16": []}, accuracy, seen).rows
    assert [cell.text for cell in row] == ["b16", "–", "–", "75.0\N{NO-BREAK SPACE}% (68.8 to 78.1)", "0.750"]


def test_judges_table_shows_real_accuracy_and_the_unmasked_probability(page):
    assert 0.97 in page.values
    assert any(value == pytest.approx(0.9) for value in page.values)


def test_strings_of_others_are_escaped(run, page):
    text = (run["folder"] / "report.html").read_text()
    assert EVIL not in text and "<b>judge</b>" not in text
    assert EVIL in page.text and "<b>judge</b>" in page.text  # shown as they are


def test_provenance_is_that_of_the_tables(run, monkeypatch, page):
    from cortex.core.provenance import provenance

    stated = provenance()
    assert stated["cortex"] in page.text
    for package, version in json.loads(stated["packages"]).items():
        assert f"{package} {version}" in " ".join(page.text.split())
    old, new = run["folder"] / "old.parquet", run["folder"] / "new.parquet"
    for path, commit in ((old, "a1"), (new, "b2")):
        monkeypatch.setattr(
            "cortex.core.tables.provenance", lambda commit=commit: {"git_commit": commit, "packages": "{}"}
        )
        write_table(path, pa.table({"x": [1]}))
    assert origin([old, new, new]) == {"git_commit": {"a1": 1, "b2": 2}}


def headlines(found):
    return " ".join(finding.headline for finding in found), " ".join(" ".join(finding.details) for finding in found)


def test_image_level_findings_count_verdicts_and_name_where():
    random, area = findings.image_level_findings(IMAGE_LEVEL, COMPARISONS)
    assert "against random tokens: better in 7, worse in 1 of 8 combinations" in random.headline
    # Means over n = 1 and 4: changes −0.25, area 12.5 %, brightness 5 % against −0.125, 12.5 % and 2.5 %.
    words = random.headline.replace("\N{NO-BREAK SPACE}", " ")
    assert "changes by −0.250, with 12.5 % of the area and 5.0 % of the brightness masked" in words
    assert "against −0.125, with 12.5 % and 2.5 %" in words
    assert random.details == ["Worse: cnn with judge <b>judge</b> at n = 4."]
    assert "as many random positions: better in 4, no difference found in 4 of 8" in area.headline
    assert area.details == [
        "No difference found: resnet with judge vit at any n; resnet with judge <b>judge</b> at any n."
    ]
    assert "hide less of what is drawn" in area.headline
    assert "hide less of what is drawn" not in random.headline


@pytest.mark.parametrize(("change", "verdict", "more"), [(-0.2, "better", 0), (0.1, "worse", 1), (-0.1, NOTHING, 0)])
def test_findings_at_the_extremes(change, verdict, more):
    rows = [image_row("cnn", "vit", "importance", 5, change), image_row("cnn", "vit", "random", 5, -0.1)]
    (finding,) = findings.image_level_findings(rows, compared("image_level", rows, lambda *_: verdict))
    assert f"{verdict} in all 1 combinations" in finding.headline
    assert len(finding.details) == more
    if more:
        assert "does not lower the label's probability at all" in finding.details[0]


def test_concept_level_findings_tell_the_areas():
    (finding,) = findings.concept_level_findings(CONCEPT_LEVEL, COMPARISONS)
    assert "better in 2, no difference found in 2 of 4 combinations" in finding.headline
    assert "with 22.5\N{NO-BREAK SPACE}% of the area" in finding.headline
    assert finding.details == ["No difference found: resnet with judge vit at any top_n."]


def test_codebook_level_findings():
    (finding,) = findings.codebook_level_findings(CODEBOOK_LEVEL, COMPARISONS)
    assert "better in 1, worse in 1 of 2 pairs" in finding.headline
    assert "changes by +0.275, against +0.150" in finding.headline
    assert finding.details == [
        "Worse: resnet with judge vit.",
        "Selecting tokens does not raise it at all for resnet with judge vit.",
    ]


def test_a_baseline_that_hardly_moves_is_named():
    rows = [
        *CODEBOOK_LEVEL[:2],
        *(codebook_row("resnet", JUDGES[0], method, 0.1, 0.09) for method in ("token_selection", "embedding")),
    ]
    (finding,) = findings.codebook_level_findings(rows, compared("codebook_level", rows, lambda *_: "better"))
    assert "changes by +0.295, against +0.095" in finding.headline
    (hardly,) = [words for words in finding.details if "hardly" in words]
    assert "hardly moves the probability (less than 0.05) for resnet with judge vit: little to be" in hardly
    assert "Without them, it changes by +0.600, against +0.200." in hardly


def test_accuracy_findings_say_who_only_guesses():
    rows = accuracy_rows("extractor", {"cnn": (0.75, 1.0), "resnet": (0.25, 0.9), "transformer": (0.5, 0.9)})
    headline, details = headlines(findings.extractor_findings(rows, 4))
    assert "cnn reads the class with top-1 accuracy 75.0\N{NO-BREAK SPACE}%" in headline
    assert "weakest of 3 extractors, resnet, 25.0\N{NO-BREAK SPACE}%" in headline
    assert "Guessing among 4 classes is right in 25.0\N{NO-BREAK SPACE}%" in headline
    assert details == "No better than guessing, so not to be trusted below: resnet."


def test_overlap_of_tokens():
    finding = findings.overlap_finding({"cnn": {0: [1, 2], 1: [3, 4]}}, {0: [1, 9, 8], 1: [3, 4, 5]})
    assert "75.0\N{NO-BREAK SPACE}% of cnn's concept-level tokens are also among the 3 tokens" in finding.headline


@pytest.mark.parametrize(
    ("value", "text"), [(-0.1234, "−0.123"), (0.5, "+0.500"), (0.0, "+0.000"), (-0.00012, "−1e−04"), (0.0005, "+0.001")]
)
def test_changes_in_words(value, text):
    assert findings.change(value) == text


def test_missing_and_unknown_figures_are_named(run, tmp_path):
    arguments = run["arguments"]
    fewer = [path for path in arguments["figures"] if path.stem != "tokens"]
    with pytest.raises(InputError, match="tokens missing"):
        write_report(tmp_path / "report.html", **arguments | {"figures": fewer})
    with pytest.raises(InputError, match=r"holiday\.png: no figure of the report"):
        write_report(tmp_path / "report.html", **arguments | {"figures": [Path("holiday.png")]})
    assert not list(tmp_path.iterdir())


def test_settings_in_words():
    nested = {"run": "a b", "generator": {"weights": None, "batch": {"classes": 10}}, "n": [1, 2]}
    assert settings_in_words(nested) == [
        'run="a b"',
        "generator.weights=null",
        "generator.batch.classes=10",
        "n=[1, 2]",
    ]


@pytest.mark.parametrize("path", sorted(CAPTIONS.glob("*.rst")), ids=lambda path: path.stem)
def test_captions_are_plain_text_to_both_reports(path):
    html = publish_parts(path.read_text(), writer="html", settings_overrides={"report_level": 1})["body"]
    assert not re.sub(r"</?p>", "", html).count("<"), html  # paragraphs only: nothing was taken for markup
    assert "{" not in path.read_text()


def test_same_values_give_the_same_files(run, tmp_path):
    names = [f"masking_by_{share}.svg" for share in ("n", "area", "brightness")]
    draw_masking(*(tmp_path / name for name in names), run["arguments"]["image_level"])
    for name in names:
        assert (tmp_path / name).read_bytes() == (run["folder"] / "figures" / name).read_bytes()


def test_examples_are_the_first_of_each_class_and_little_is_read(run):
    found = first_of_classes(run["shards"], 1, 2)
    assert {label: [s.key for s in samples] for label, samples in found.items()} == {
        0: ["test-0000-000000", "test-0000-000001"]
    }
    missing = [run["shards"][0], Path("not-there.tar")]
    assert len(first_of_classes(missing, 2, 2)[1]) == 2  # all found in the first shard
    assert [len(samples) for samples in first_of_classes(run["shards"], 9, 9).values()] == [3, 3]


def test_importance_of_other_images_is_an_error(run, tmp_path):
    with pytest.raises(InputError, match="no image 'test-0000-000002'"):
        draw_importance(tmp_path / "a.png", run["shards"][1], extractors=["cnn"], importance=run["scores"][:1])


def test_overlay_goes_from_one_end_of_the_colours_to_the_other():
    image = np.full((4, 4, 3), (10, 20, 60), np.uint8)
    shown = figures.overlay(image, np.array([[-1.0, 0.0], [0.0, 3.0]]))
    for pixel, value in ((shown[0, 0], 0.0), (shown[3, 3], 1.0), (shown[0, 3], 0.25)):
        expected = 0.35 * 30 + 0.65 * 255 * np.array(colormaps["viridis"](value)[:3])
        assert np.abs(pixel - expected).max() <= 1.5  # the map has 256 colours
    assert (figures.overlay(image, np.zeros((2, 2))) == shown[0, 0]).all()


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0.00"), (0.0049, "<0.01"), (0.005, "0.01"), (0.994, "0.99"), (1, "1.00")]
)
def test_small_probabilities_are_not_shown_as_none(value, text):
    assert figures.probability(value) == text


def test_mean_patch_is_that_of_a_pixel_loop(run):
    samples = [sample for shard in run["shards"] for sample in read_shard(shard, images=True)]
    patches = mean_patches(iter(samples), [*range(24), 999])
    for token in range(24):
        held = [
            sample.image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            for sample in samples
            for y, x in zip(*np.nonzero(sample.grid == token), strict=True)
        ]
        if held:
            np.testing.assert_array_equal(patches[token], np.round(np.mean(held, axis=0)))
        assert bool(held) == (token in patches)
    assert 999 not in patches


def test_one_extractor_one_judge_one_size():
    rows = [image_row("cnn", "vit", method, 5, -0.1) for method in image_level.METHODS]
    for figure in (
        figures.masking(rows, "n"),
        figures.masking(rows, "masked_fraction"),
        figures.masking(rows, "masked_brightness"),
        figures.concept_level(CONCEPT_LEVEL[:3], [row for row in COMPARISONS if row["level"] == "concept_level"][:2]),
        figures.codebook_level([codebook_row("cnn", "vit", "embedding", 0.1, 0.2)]),
    ):
        assert len(figure.axes) == 1
    assert set(image_level.MEASURES) == set(concept_level.MEASURES) < set(rows[0])
    assert set(codebook_level.MEASURES) < set(CODEBOOK_LEVEL[0])
