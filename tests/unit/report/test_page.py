"""The page says what the tables say, holds all that it shows, and leaves out by name what a run does not have."""

import base64
import json
import re
import shutil
from dataclasses import replace

import pyarrow as pa
import pytest
from docutils.core import publish_parts

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.report import CAPTIONS, page_fingerprint, settings_in_words
from cortex.report.draw.metrics import draw_concept_level
from cortex.report.html import origin, write_report
from cortex.report.level_tables import judges_table
from cortex.report.pictures import FIGURES, caption
from cortex.report.tables import Cell, Table
from cortex.report.topic import Finding, Topic
from cortex.studies.base import Study, StudySettings
from tests.unit.report.conftest import METRICS, SHOWN, Page, save, with_trainings
from tests.unit.report.rows import COMPARISONS, EVIL, OTHERS, with_intervals

STUDY_CAPTIONS = (CAPTIONS.parent.parent / "studies").glob("*/*.rst")
FIRST = Study(StudySettings, page="tests.unit.report.test_page:section", order=1)
LAST = Study(StudySettings, page="tests.unit.report.test_page:section", order=2)


def section(rows):
    """A study's section, as another package would write it."""
    row = rows[0]
    found = Finding(f"{row['extractor']} got {row['value']}.", ["Not much."])
    table = Table(["extractor", "value"], 1, [[Cell(row["extractor"]), Cell(str(row["value"]), row["value"])]])
    return Topic(f"Does {EVIL} matter?", "Mine", "One lead.", [found], [("A table", "A note", table)], ["One limit."])


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
    images, files = page.all("img"), list((run.folder / "figures").iterdir())
    assert len(images) == len(files) == len(page.all("figure")) == len(page.all("figcaption"))
    inlined = {base64.b64decode(image["src"].partition(",")[2]) for image in images}
    assert inlined == {path.read_bytes() for path in files}
    for name in FIGURES:
        title, text = caption(name)
        assert title in words and text in words and any(image["alt"].startswith(title) for image in images)


def test_findings_are_of_the_first_attribution_and_of_published_lists(page):
    words = " ".join(page.text.split()).replace("\N{NO-BREAK SPACE}", " ")
    assert "Important tokens against random tokens: better in 7, worse in 1 of 8 combinations" in words
    assert "Mean change of the label's probability: −0.250 (12.5 % of the area" in words
    found = "against the most frequent tokens of the class: better in 2, no difference found in 2 of 4 combinations"
    assert found in words


def test_tables_hold_every_number_of_the_metrics(page):
    compared = [row | {"p": None} for row in (*COMPARISONS, *OTHERS["comparisons"])]
    for name, rows in (METRICS | {"comparisons": compared}).items():
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
    text = (run.folder / "report.html").read_text()
    assert EVIL not in text and "<b>judge" not in text
    assert EVIL in page.text and "<b>judge" in page.text  # shown as they are


def test_provenance_is_that_of_the_tables(run, monkeypatch, page):
    from cortex.core.provenance import provenance

    stated = provenance()
    assert stated["cortex"] in page.text
    for package, version in json.loads(stated["packages"]).items():
        assert f"{package} {version}" in " ".join(page.text.split())
    old, new = run.folder / "old.parquet", run.folder / "new.parquet"
    for path, commit in ((old, "a1"), (new, "b2")):
        monkeypatch.setattr(
            "cortex.core.tables.provenance", lambda commit=commit: {"git_commit": commit, "packages": "{}"}
        )
        write_table(path, pa.table({"x": [1]}))
    assert origin([old, new, new]) == {"git_commit": {"a1": 1, "b2": 2}}


def test_sections_of_studies_follow_their_order_and_add_limits(run, tmp_path):
    for name, value in (("mine", 0.25), ("theirs", 0.75)):
        save(run.folder / "metrics" / f"{name}.parquet", [{"extractor": "cnn", "training": 0, "value": value}])
    studies = ("theirs=tests.unit.report.test_page:LAST", "mine=tests.unit.report.test_page:FIRST")
    write_report(tmp_path / "report.html", run.folder, **run.arguments, studies=studies)
    shown = Page((tmp_path / "report.html").read_text())
    sections = [attributes["id"] for attributes in shown.all("section") if attributes.get("id", "").endswith("-topic")]
    assert sections == ["mine-topic", "theirs-topic"]
    words = " ".join(shown.text.split())
    for said in ("cnn got 0.25. Not much.", "Mine: One limit.", f"Does {EVIL} matter?", "One lead.", "A table A note"):
        assert said in words
    assert words.count("cnn got 0.25.") == 2  # in short, and in its section
    assert {0.25, 0.75} <= set(shown.values)
    with pytest.raises(InputError, match="study 'gone': allowed: "):
        write_report(tmp_path / "other.html", run.folder, **run.arguments, studies=("gone",))


def test_figures_of_a_study_stand_in_its_section_with_captions_from_beside_its_page(run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    save(folder / "metrics" / "mine.parquet", [{"extractor": "cnn", "training": 0, "value": 0.25}])
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "page_beside.py").write_text("from tests.unit.report.test_page import section\n")
    (tmp_path / "ends.rst").write_text("Both ends.\n\nLeft and right.\n")
    monkeypatch.setattr(f"{__name__}.FIRST", replace(FIRST, page="page_beside:section"))
    arguments = run.arguments | {"studies": (f"mine={__name__}:FIRST",), "study_figures": ("mine=ends",)}
    with pytest.raises(InputError, match=r"ends\.png: no such figure"):
        write_report(tmp_path / "report.html", folder, **arguments)
    (folder / "figures" / "ends.png").write_bytes(b"the ends")
    write_report(tmp_path / "report.html", folder, **arguments)
    text = (tmp_path / "report.html").read_text()
    of_study = Page(text[text.index('id="mine-topic"') : text.index('id="limits"')])
    (image,) = of_study.all("img")
    assert base64.b64decode(image["src"].partition(",")[2]) == b"the ends" and image["alt"] == "Both ends."
    assert "Left and right." in of_study.text


@pytest.mark.parametrize(
    ("changes", "without", "reason"),
    [
        ({"judges": ()}, {"image-level", "concept-level", "codebook-level"}, "codebook level: the run has no judges."),
        ({"levels": ("image_level", "concept_level")}, {"codebook-level"}, "Codebook level: the run has no decoder."),
        ({"images": False, "levels": ()}, {"codebook-level"}, "Figures of images: the run has no images."),
        ({"extractors": (), "top_n": None}, {"models", "explanations", "image-level"}, "the run has no extractors."),
    ],
)
def test_sections_that_a_run_cannot_have_are_left_out_by_name(run, tmp_path, changes, without, reason):
    write_report(tmp_path / "report.html", run.folder, **run.arguments | changes)
    shown = Page((tmp_path / "report.html").read_text())
    targets = {attributes["id"] for _, attributes in shown.tags if "id" in attributes}
    assert not targets & without
    assert reason.lower() in " ".join(shown.text.split()).lower()
    assert all(link["href"].removeprefix("#") in targets for link in shown.all("a"))
    figures = {image["alt"] for image in shown.all("img")}
    assert any(alt.startswith("Training curves") for alt in figures) == ("extractors" not in changes)
    assert any(alt.startswith("Generated images") for alt in figures) == (
        "extractors" not in changes and "images" not in changes
    )


def test_claims_are_over_trainings_and_trainings_are_listed(page):
    words = " ".join(page.text.split())
    assert "cnn (2 trainings) and resnet (2 trainings)" in words
    assert "lowest of 2 extractors: resnet" in words
    assert "better in 7, worse in 1 of 8 combinations" in words, "comparisons of single trainings do not count"


def test_one_training_gives_no_verdict(run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in run.folder.iterdir():
        if path.name != "metrics":
            (folder / path.name).symlink_to(path)
    for name, rows in METRICS.items():
        silent = {"p_corrected": None, "verdict": None} if name == "comparisons" else {}
        save(folder / "metrics" / f"{name}.parquet", with_trainings([row | silent for row in rows]))
    write_report(folder / "report.html", folder, **run.arguments | {"extractors": tuple(SHOWN)})
    shown = Page((folder / "report.html").read_text())
    words = " ".join(shown.text.split())
    assert "cnn (1 training) and resnet (1 training)" in words
    for compared in ("Important tokens against random tokens", "Token selection against embedding optimisation"):
        assert f"{compared}: no verdict from one training." in words
    draw_concept_level(
        tmp_path / "concept_level.svg",
        folder / "metrics" / "concept_level.parquet",
        folder / "metrics" / "comparisons.parquet",
    )
    assert "no verdict" in (tmp_path / "concept_level.svg").read_text()


def test_missing_figures_are_named(run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in run.folder.iterdir():
        if path.name != "figures":
            (folder / path.name).symlink_to(path)
    (folder / "figures").mkdir()
    for path in (run.folder / "figures").iterdir():
        if path.stem != "tokens":
            (folder / "figures" / path.name).symlink_to(path)
    with pytest.raises(InputError, match=r"tokens\.png: no such figure; draw-tokens draws it"):
        write_report(tmp_path / "report.html", folder, **run.arguments)
    assert not (tmp_path / "report.html").exists()


def test_settings_in_words():
    nested = {"run": "a b", "generator": {"weights": None, "batch": {"classes": 10}}, "n": [1, 2]}
    assert settings_in_words(nested) == [
        'run="a b"',
        "generator.weights=null",
        "generator.batch.classes=10",
        "n=[1, 2]",
    ]


def test_the_fingerprint_covers_templates_and_those_of_studies(monkeypatch, tmp_path):
    without = page_fingerprint()
    assert page_fingerprint(["cortex.studies.sanity.page:section"]) != without
    (tmp_path / "page_of_mine.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "page.j2").write_text("one")
    one = page_fingerprint(["page_of_mine:section"])
    (tmp_path / "page.j2").write_text("other")
    other = page_fingerprint(["page_of_mine:section"])
    (tmp_path / "a_figure.rst").write_text("A caption.")
    assert len({without, one, other, page_fingerprint(["page_of_mine:section"])}) == 4
    with pytest.raises(InputError, match="no_such_page:section: no module no_such_page"):
        page_fingerprint(["no_such_page:section"])


@pytest.mark.parametrize("path", sorted([*CAPTIONS.glob("*.rst"), *STUDY_CAPTIONS]), ids=lambda path: path.stem)
def test_captions_are_plain_text_to_both_reports(path):
    html = publish_parts(path.read_text(), writer="html", settings_overrides={"report_level": 1})["body"]
    assert not re.sub(r"</?p>", "", html).count("<"), html  # paragraphs only: nothing was taken for markup
    assert "{" not in path.read_text()


def test_comparisons_are_not_read_without_levels(run, tmp_path):
    """A run without judges has no such file."""
    arguments = run.arguments | {"judges": (), "images": False}
    names = ("extractor_accuracy", "tokens", "data", "figures")
    folder = tmp_path / "run"
    (folder / "metrics").mkdir(parents=True)
    for name in names[1:]:
        (folder / name).symlink_to(run.folder / name)
    (folder / "metrics" / "extractor_accuracy.parquet").symlink_to(
        run.folder / "metrics" / "extractor_accuracy.parquet"
    )
    write_report(tmp_path / "report.html", folder, **arguments)
    assert read_table(folder / "metrics" / "extractor_accuracy.parquet").num_rows == 12
    assert "the run has no judges" in (tmp_path / "report.html").read_text()


def test_the_first_finding_of_every_level_goes_to_a_file(run, page, tmp_path):
    write_report(tmp_path / "report.html", run.folder, **run.arguments, headlines=tmp_path / "findings.txt")
    first, second, third = (tmp_path / "findings.txt").read_text().splitlines()
    assert first.startswith("Important tokens against random tokens: ")
    assert second.startswith("Concept-level tokens against the most frequent tokens of the class: ")
    assert third.startswith("Token selection against embedding optimisation: ")
    shown = " ".join(page.text.split())
    assert all(line in shown for line in (first, second, third))


def test_without_levels_the_findings_are_those_that_there_are(run, tmp_path):
    arguments = run.arguments | {"judges": (), "headlines": tmp_path / "findings.txt"}
    write_report(tmp_path / "report.html", run.folder, **arguments)
    first, *others = (tmp_path / "findings.txt").read_text().splitlines()
    assert first.startswith("Share of the concept-level tokens that are also among")
    assert [line.partition(" ")[0] for line in others] == ["Top-1"]
