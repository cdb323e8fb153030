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
from cortex.core.tables import write_table
from cortex.report import CAPTIONS, TEMPLATES, page_fingerprint, settings_in_words
from cortex.report.answers import QUESTIONS
from cortex.report.draw.images import draw_reconstruction
from cortex.report.html import load_page, origin, stated, write_report
from cortex.report.pictures import FIGURES, caption
from cortex.report.study_sections import StudySection, added_to_answers
from cortex.report.tables import Cell, Table
from cortex.report.topic import Finding, Topic
from cortex.studies.base import Study, StudySettings
from tests.manifests import leave_strays
from tests.unit.report.conftest import Page
from tests.unit.report.example import EVIL, EXTRACTORS, METRICS, one_training, save

FIRST = Study(StudySettings, page="tests.unit.report.test_page:section", order=1)
LAST = Study(StudySettings, page="tests.unit.report.test_page:section", order=2)
OF_ITS_OWN = Study(StudySettings, page="tests.unit.report.test_page:section", order=3, needs=frozenset())


STUDY_CAPTIONS = (CAPTIONS.parent.parent / "studies").glob("*/*.rst")


def section(rows, more=()):
    """A study's section, as another package would write it."""
    row = [*more, *rows][0]
    found = Finding(f"{row['extractor']} got {row['value']}.", ["Not much."])
    table = Table(["extractor", "value"], 1, [[Cell(row["extractor"]), Cell(str(row["value"]), row["value"])]])
    tables = [("A table", "A note", table)]
    return Topic(
        f"Does {EVIL} matter?", "Mine", "One lead.", [found], tables, ["One limit."], {"reliability": "It is sure."}
    )


def written(run, path, **changes):
    """The page of the run with other arguments."""
    write_report(path / "report.html", run.folder, **run.arguments | changes)
    return Page((path / "report.html").read_text())


def copy_of(run, folder, without=()):
    """A folder like the run's, which may be changed."""
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns(*without, "report.html"))
    return folder


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"extractors": ("cnn/0", "cnn/9")}, "--extractors 'cnn/9': .* has: cnn/0, "),
        ({"judges": ("vit", "gone")}, "--judges 'gone': .* has: .*vit"),
        ({"methods": ("gone",)}, "--methods 'gone': .* has: .*tis"),
        ({"top_n": 99}, "top_n = 99: concept tokens of the run: "),
    ],
)
def test_names_that_the_run_does_not_have_are_refused(run, tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        write_report(tmp_path / "report.html", run.folder, **run.arguments | changes)
    assert not (tmp_path / "report.html").exists()


def test_page_needs_no_other_file_and_no_network(page):
    for tag, attributes in page.tags:
        assert tag != "script"
        for name in ("src", "href", "srcset", "data", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes[name])
    style = " ".join(attributes.get("style", "") for _, attributes in page.tags) + page.text
    assert "url(" not in style and "@import" not in style
    assert page.all("meta")[-1]["content"].startswith("default-src 'none'")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(link["href"].removeprefix("#") in ids for link in page.all("a"))


def test_the_page_links_to_the_atlas_beside_it(run, tmp_path):
    links = [link["href"] for link in written(run, tmp_path).all("a")]
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "index.html").touch()
    beside = [link["href"] for link in written(run, tmp_path).all("a")]
    assert not any(link.startswith("atlas/") for link in links)
    more = [link for link in beside if link.startswith("atlas/index.html#token/")]
    assert sorted(beside) == sorted([*links, "atlas/index.html", *more])
    assert {f"atlas/index.html#token/{number}" for number in range(1, 5)} < set(more)


def test_every_figure_is_inlined_with_its_caption_and_alternative_text(run, page):
    files = list((run.folder / "figures").iterdir())
    assert len(page.all("figure")) == len(page.all("figcaption")) == len(files)
    inlined = {base64.b64decode(image["src"].partition(",")[2]) for image in page.all("img")}
    assert {path.read_bytes() for path in files} <= inlined
    for name in FIGURES.keys() - {"reconstruction"}:  # of runs on real pictures
        title, text = caption(name)
        assert title in page.words and text in page.words
        assert any(image["alt"].startswith(title) for image in page.all("img"))
    assert all(image["alt"] for image in page.all("img"))


def test_tables_hold_every_number_of_the_metrics(page):
    over_all = [row for row in METRICS["comparisons"] if row["label"] is None and row["training"] is None]
    shown = {"difference", "p_corrected", "verdict", "extractor", "judge", "baseline"}
    comparisons = [{name: value for name, value in row.items() if name in shown} for row in over_all]
    for name, rows in (METRICS | {"comparisons": comparisons}).items():
        for row in rows:
            for column, value in row.items():
                if isinstance(value, str):
                    assert value in page.text, (name, column, value)
                elif value is not None and column not in ("training", "valid"):
                    assert value in page.values, (name, column, value)


def test_judges_table_shows_real_accuracy_and_the_unmasked_probability(page):
    assert 0.97 in page.values
    assert any(value == pytest.approx(0.9) for value in page.values)


def test_judges_have_a_row_for_every_class(run, page):
    text = "".join(page.text.split())
    # Of the two images of class 1, the bee, the judges take one for a cat.
    assert text.count("bee50%(1of2)cat(1)50%(1of2)cat(1)") == 1
    assert "ant100%(2of2)–100%(2of2)–" in text


def test_tokens_that_mark_another_class_say_so(page):
    assert "marks it, 75" in page.words and "marks bee, 75" in page.words  # on the cards
    assert "marks ant" in page.words and "0/2" in page.words


def test_classes_have_a_sentence_with_their_own_figures(page):
    text = page.words.replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "Masking important tokens (20 % of an image) lowers the judges' "
        "probability of the class by 40 points, random masks of equal area by 12."
    ) in text
    assert "Shown without selection: the first 6 of 7 classes, the first test image of each." in text
    assert "Importance: the token importance score (tis), the slope of" in text
    assert "by the extractor resnet, the most accurate one, a mean over its 3 trainings." in text
    assert "ant all 3 trainings read it as bee" in text and "bee all 3" not in text
    assert "Judges assign the class to 50 % of its images." in text  # bees: one of two is a cat


def test_strings_of_others_are_escaped(run, page):
    text = (run.folder / "report.html").read_text()
    assert EVIL not in text and "<b>judge" not in text
    assert EVIL in page.text and "<b>judge" in page.text  # shown as they are


def test_provenance_is_that_of_the_tables(run, monkeypatch, tmp_path, page):
    from cortex.core.provenance import provenance

    stated = provenance()
    assert stated["cortex"] in page.text
    for package, version in json.loads(stated["packages"]).items():
        assert f"{package} {version}" in page.words
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    for path, commit in ((old, "a1"), (new, "b2")):
        monkeypatch.setattr(
            "cortex.core.tables.provenance", lambda commit=commit: {"git_commit": commit, "packages": "{}"}
        )
        write_table(path, pa.table({"x": [1]}))
    assert origin([old, new, new]) == {"git_commit": {"a1": 1, "b2": 2}}


@pytest.mark.parametrize(
    ("commits", "said"),
    [
        ({"a1": 3}, "a1"),
        ({"a1-dirty": 3}, "a1 with uncommitted changes"),
        (
            {"a1": 1, "b2-dirty": 1},
            "a1 (1 of 3 files), b2 with uncommitted changes (1 of 3 files); not recorded (1 of 3 files)",
        ),
        ({}, "not recorded"),
    ],
)
def test_the_page_names_the_commits_of_the_results(commits, said):
    text = load_page(TEMPLATES, name="macros.html.j2").module.commits(commits, 3)
    assert " ".join(re.sub("<[^>]*>", "", str(text)).split()) == said


def test_studies_have_pages_of_their_own_in_their_order(run, tmp_path):
    folder = copy_of(run, tmp_path / "tiny")
    for name, value in (("mine", 0.25), ("theirs", 0.75)):
        save(folder / "metrics" / f"{name}.parquet", [{"extractor": "cnn", "training": 0, "value": value}])
    studies = ("theirs=tests.unit.report.test_page:LAST", "mine=tests.unit.report.test_page:FIRST")
    write_report(tmp_path / "report.html", folder, **run.arguments, studies=studies)
    shown = Page((tmp_path / "report.html").read_text())
    sections = [attributes["id"] for attributes in shown.all("section") if attributes.get("id", "").endswith("-topic")]
    assert sections == ["mine-topic", "theirs-topic"]
    for said in ("cnn got 0.25. Not much.", "Limits One limit.", f"Does {EVIL} matter?", "One lead.", "A table A note"):
        assert said in shown.words
    assert shown.words.count("cnn got 0.25.") == 1  # once, where it belongs
    assert shown.words.count("It is sure.") == 2  # both studies, among the answers
    assert {0.25, 0.75} <= set(shown.values)
    with pytest.raises(InputError, match="study 'gone': allowed: "):
        write_report(tmp_path / "other.html", run.folder, **run.arguments, studies=("gone",))


def test_a_study_adds_only_to_answers_that_there_are():
    told = StudySection(section([{"extractor": "cnn", "value": 0.25}]), [], [])
    assert added_to_answers({"mine": told}, QUESTIONS)["reliability"] == [("It is sure.", "mine")]
    wrong = replace(told, topic=replace(told.topic, answers={"truth": "Never."}))
    with pytest.raises(InputError, match=r"study mine: answers has 'truth': allowed: masking, concepts, searches, "):
        added_to_answers({"mine": wrong}, QUESTIONS)


def test_a_study_states_settings_of_the_run():
    study = replace(FIRST, stated={"copies": "importance.samples"})
    assert stated(['run="tiny"', "importance.samples=20"], study) == {"copies": 20}
    assert stated([], study) == {"copies": None} and stated([], FIRST) == {}


def test_a_study_reads_further_tables_of_the_run(run, tmp_path, monkeypatch):
    folder = copy_of(run, tmp_path / "tiny")
    save(folder / "metrics" / "mine.parquet", [{"extractor": "cnn", "training": None, "value": 0.25}])
    save(folder / "studies" / "mine" / "more.parquet", [{"extractor": "another", "value": 0.5}])
    monkeypatch.setattr(f"{__name__}.FIRST", replace(FIRST, tables={"more": "studies/mine/more.parquet"}))
    write_report(tmp_path / "report.html", folder, **run.arguments, studies=(f"mine={__name__}:FIRST",))
    assert "another got 0.5." in Page((tmp_path / "report.html").read_text()).words


def test_figures_of_a_study_stand_in_its_section_with_captions_from_beside_its_page(run, tmp_path, monkeypatch):
    folder = copy_of(run, tmp_path / "tiny")
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
    of_study = Page((tmp_path / "report.html").read_text().partition('id="mine-topic"')[2])
    (image,) = of_study.all("img")
    assert base64.b64decode(image["src"].partition(",")[2]) == b"the ends" and image["alt"] == "Both ends."
    assert "Left and right." in of_study.text


@pytest.mark.parametrize(
    ("changes", "without", "reason"),
    [
        ({"judges": ()}, {"image-level", "concept-level", "codebook-level"}, "Not measured. The run has no judges."),
        ({"levels": ("image_level", "concept_level")}, {"codebook-level"}, "Not measured. The run has no decoder."),
        ({"shard": None, "judges": ()}, {"codebook-level", "samples"}, "The class's five"),
    ],
)
def test_what_a_run_cannot_have_is_left_out_by_name(run, tmp_path, changes, without, reason):
    shown = written(run, tmp_path, **changes)
    targets = {attributes["id"] for _, attributes in shown.tags if "id" in attributes}
    assert not targets & without
    assert reason in shown.words
    assert all(link["href"].removeprefix("#") in targets for link in shown.all("a"))
    figures = {image["alt"] for image in shown.all("img")}
    assert any(alt.startswith("Training curves") for alt in figures)
    assert any(alt.startswith(("Test images", "First test image")) for alt in figures) == ("shard" not in changes)
    assert ("probability of the class by" in shown.words) == ("judges" not in changes)


def test_imported_images_are_not_called_drawn(run, tmp_path, page):
    assert "drawn by the generator" in page.words
    assert "drawn by the generator" not in written(run, tmp_path, source="imported").words
    assert not re.search("[Gg]enerated|asked for", page.words)


def reconstruction(fits):
    """Errors of two classes and of both, of which the first is below that of a plain colour or not."""
    rows = []
    for label, good in ((None, fits), (0, fits), (1, True)):
        errors = {"l1": 0.125 if good else 0.75, "plain_l1": 0.5}
        errors = {f"{name}{end}": value for name, value in errors.items() for end in ("", "_low", "_high")}
        rows.append({"label": label, "samples": 14, **errors, "codes": 12, "perplexity": 3.5, "fits": good})
    return rows


@pytest.mark.parametrize("fits", [True, False])
def test_real_pictures_are_called_real_and_a_codebook_that_does_not_fit_them_is_told_first(run, tmp_path, fits):
    folder = copy_of(run, tmp_path / "tiny")
    save(folder / "metrics" / "reconstruction.parquet", reconstruction(fits))
    draw_reconstruction(
        folder / "figures" / "reconstruction.png",
        run.files.tokens,
        run.files.images,
        generator=run.arguments["generator"],
        device="cpu",
    )
    write_report(tmp_path / "report.html", folder, **run.arguments | {"source": "pictures"})
    shown = Page((tmp_path / "report.html").read_text())
    assert "The images are real pictures, not generated ones." in shown.words
    assert "real pictures in tokens of the generator's encoder" in shown.words
    assert not re.search("drawn by the generator|asked for", shown.words)
    assert any(image["alt"].startswith("Real pictures and, below each,") for image in shown.all("img"))
    error, warning = (
        "0.125" if fits else "0.750",
        "The codebook does not fit these pictures. For ant, one plain colour",
    )
    assert f"The decoded tokens differ from the pictures by {error} on average, a picture's mean colour by 0.500" in (
        shown.words
    )
    assert shown.words.count(warning) == (0 if fits else 2), "on the first page and that of the pictures"
    if not fits:
        assert shown.words.index(warning) < shown.words.index("Five questions")


def test_no_explanation_is_printed_that_no_test_supports(page):
    assert not re.search("black background|changes nothing|because it is empty|little room", page.words)


def test_invalid_results_are_marked_above_the_numbers(run, tmp_path):
    folder = copy_of(run, tmp_path / "tiny")
    rows = [row | {"valid": (row["name"], row["training"]) != ("cnn", 1)} for row in METRICS["validity"]]
    save(folder / "metrics" / "validity.parquet", rows)
    for name in ("mine", "own"):
        save(folder / "metrics" / f"{name}.parquet", [{"extractor": "cnn", "training": None, "value": 0.25}])
    studies = ("mine=tests.unit.report.test_page:FIRST", "own=tests.unit.report.test_page:OF_ITS_OWN")
    write_report(tmp_path / "report.html", folder, **run.arguments, studies=studies)
    text = (tmp_path / "report.html").read_text()
    sections = dict(re.findall(r'<section class="page" id="([\w-]+)"(.*?)\n</section>', text, re.DOTALL))
    box = "Extractor cnn, training 1: accuracy 80.0 %"
    marked = {name for name, part in sections.items() if "Invalid results." in part}
    # A study with extractors of its own does not depend on the run's.
    of_method = {"overview", "tokens", "image-level", "concept-level", "codebook-level", "reliability"}
    assert marked == of_method | {"mine-topic"}
    assert sections["tokens"].index("Invalid results.") < sections["tokens"].index('class="finding"')
    for name in marked - {"overview", "tokens"}:
        part = sections[name]
        assert box in " ".join(part.split())
        assert part.index("Invalid results.") < part.index("<table") and part.index("Invalid results.") < part.index(
            'class="finding"'
        )
        assert 'invalid">' in part
    assert sections["overview"].index("Invalid results.") < sections["overview"].index('class="card"')
    assert "Left out as invalid: cnn." in sections["overview"]
    accuracy = sections["reliability"].partition("Accuracy of the extractors")[2].partition("</table>")[0]
    invalid = re.findall(r'<tr class="[^"]*invalid">(.*?)</tr>', accuracy, re.DOTALL)
    trainings = [re.findall(r'<th scope="row">(.*?)</th>', row)[1] for row in invalid]
    assert trainings == ["1", "all"]


def test_a_run_with_one_training_has_no_verdict(run, tmp_path):
    folder = one_training(run.folder, tmp_path / "tiny")
    names = tuple(f"{extractor}/0" for extractor in EXTRACTORS)
    write_report(tmp_path / "report.html", folder, **run.arguments | {"extractors": names})
    shown = Page((tmp_path / "report.html").read_text())
    assert shown.words.count("One training of each extractor gives no verdict.") == 3
    assert "Unknown from one training." in shown.words and "Agreement of trainings" not in shown.words
    assert "the most accurate one, training 0." in shown.words and "●" not in shown.text
    assert "five most important tokens for the resnet" in shown.words
    assert "cnn (1 training) and resnet (1 training)" in shown.words
    assert not re.search(r"better in \d", shown.words)


def test_the_first_answers_go_to_a_file(run, page, tmp_path):
    path = tmp_path / "findings.txt"
    written(run, tmp_path, headlines=path)
    first, second, third = path.read_text().splitlines()
    assert first.startswith("Masks of an image's important tokens lower the judges' probability of the class by")
    assert second.startswith("Masks of contrast tokens (30\N{NO-BREAK SPACE}% of the image) lower the judges'")
    assert third.startswith("The search raises the judges' probability of the target class from")
    assert all(" ".join(line.split()) in page.words for line in (first, second, third))
    written(run, tmp_path, headlines=path, judges=())
    assert path.read_text().startswith("Importance of the same image by two trainings")


def test_missing_figures_are_named(run, tmp_path):
    folder = copy_of(run, tmp_path / "tiny", without=["samples.png"])
    with pytest.raises(InputError, match=r"samples\.png: no such figure; draw-samples draws it"):
        write_report(tmp_path / "report.html", folder, **run.arguments)
    assert not (tmp_path / "report.html").exists()


def test_missing_evaluations_and_extractors_are_named(run, tmp_path):
    folder = copy_of(run, tmp_path / "tiny")
    shutil.rmtree(folder / "evaluation" / "image_level" / "tis" / "resnet" / "average")
    with pytest.raises(InputError, match=r"resnet/average/vit/000000\.parquet: no such evaluation of the image level"):
        write_report(tmp_path / "report.html", folder, **run.arguments)
    with pytest.raises(InputError, match="--extractors: the page explains at least one extractor"):
        write_report(tmp_path / "report.html", run.folder, **run.arguments | {"extractors": ()})


def test_files_of_an_earlier_run_change_nothing(run, tmp_path):
    folder = copy_of(run, tmp_path / "tiny")
    write_report(tmp_path / "before.html", folder, **run.arguments)
    leave_strays(folder)
    write_report(tmp_path / "after.html", folder, **run.arguments)
    assert (tmp_path / "after.html").read_text() == (tmp_path / "before.html").read_text()


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
