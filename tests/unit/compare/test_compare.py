"""The command: what it leaves out by name, what it refuses in one line, and what its page says."""

import shutil

import pytest

from cortex.app.cli import main
from cortex.compare.compare import compare_runs
from cortex.compare.runs import open_runs
from cortex.compare.shared import find_shared
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from tests.manifests import leave_strays
from tests.unit.compare.runs import SETTINGS, write_compared_run
from tests.unit.report.conftest import Page
from tests.unit.report.example import EXTRACTORS, JUDGES, METHODS, METRICS, save


@pytest.fixture(scope="session")
def page(compared):
    return Page(compared.page)


def left_out(folders):
    return {(one.what, one.names, one.reason) for one in find_shared(open_runs(folders)).left_out}


def test_what_cannot_be_compared_is_left_out_by_name(compared):
    found = {(row["what"], row["names"], row["reason"]) for row in compared.tables["left_out"]}
    other_codes = "other codebooks: a number stands for another code"
    assert found == {
        ("class", "ant", "not in three"),
        ("class", "yak", "not in one and two"),
        ("level", "image level", "not measured in three"),
        ("overlap of concept tokens", "one and three, two and three", other_codes),
        ("difference of accuracies", "one and three", "extractors choose among other classes (7 and 7)"),
        ("difference of accuracies", "two and three", "extractors choose among other classes (7 and 7)"),
        ("verdict", "cnn and resnet of three", "one training gives no verdict"),
    }  # fmt: skip


def test_files_of_an_earlier_run_change_nothing(folders, compared, tmp_path):
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in folders]
    for folder in copies:
        leave_strays(folder)
    compare_runs(tuple(copies), output=tmp_path / "compared", resamples=50)
    for name, rows in compared.tables.items():
        assert read_table(tmp_path / "compared" / f"{name}.parquet").to_pylist() == rows
    page = (tmp_path / "compared" / "compare.html").read_text()
    assert page == compared.page.replace(str(folders[0].parent), str(tmp_path))


def test_other_networks_methods_and_nameless_classes_are_left_out(tmp_path):
    names = ("class 0", "bee")
    one = write_compared_run(tmp_path / "one", 1, names=names, importance={"method": ["tis", "gradient"]})
    networks = {"cnn": {"network": "cnn_deep", "seeds": 1}, "resnet": {"network": "resnet", "seeds": 1}}
    judges = {JUDGES[0]: {"network": "vit"}}
    two = write_compared_run(
        tmp_path / "two", 2, names=names, codebook=1, extractors=networks, judges=judges, importance={"method": ["tis"]}
    )
    found = left_out([one, two])
    assert ("extractor", "cnn", "other networks: cnn in one and cnn_deep in two") in found
    assert ("method of importance", "gradient", "not in two") in found
    assert ("judge", JUDGES[1], "not in two") in found
    nameless = "class 0, class 2, class 3, class 4, class 5 and class 6"
    assert ("class", nameless, "a number, not a name, and the codebooks differ") in found


def test_runs_that_share_nothing_are_refused(tmp_path, folders):
    others = write_compared_run(tmp_path / "others", 2, names=tuple("abcdefg"))
    with pytest.raises(
        InputError, match=r"no class is the same in all runs: ant, bee, .* and gnu: not in others; a, b"
    ):
        compare_runs((folders[0], others), output=tmp_path / "output")
    gradients = write_compared_run(tmp_path / "gradients", 2, importance={"method": ["gradient"]})
    with pytest.raises(InputError, match="no method of importance is the same in all runs: tis: not in gradients; "):
        compare_runs((folders[0], gradients), output=tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_a_run_with_one_training_has_no_verdict(tmp_path, folders):
    single = write_compared_run(tmp_path / "single", 2)
    save(single / "metrics" / "validity.parquet", [row for row in METRICS["validity"] if row["training"] in (0, None)])
    compare_runs((folders[0], single), output=tmp_path / "output", resamples=20)
    rows = read_table(tmp_path / "output" / "differences.parquet").to_pylist()
    assert {(row["trainings"], row["other_trainings"]) for row in rows} == {(3, 1)}
    assert {(row["p_corrected"], row["verdict"]) for row in rows} == {(None, None)}
    assert all(row["low"] <= row["difference"] <= row["high"] for row in rows)
    said = Page((tmp_path / "output" / "compare.html").read_text()).words
    assert "No verdict. Top-1 accuracy" in said and "One training gives no verdict." in said
    assert "better in" not in said


def test_runs_of_the_same_images_are_compared_image_by_image(tmp_path, folders):
    again = write_compared_run(tmp_path / "again", 1, concept_tokens=SETTINGS["concept_tokens"])
    shared = find_shared(open_runs([folders[0], again]))
    assert shared.same_images(*shared.runs)
    other = find_shared(open_runs(folders[:2]))
    assert not other.same_images(*other.runs)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["one", "one/../one"], "{root}/one/../one: the same folder as {root}/one; every run once"),
        (["one"], "1 folders of runs: allowed: two and more"),
        (["one", "nothing"], "{root}/nothing: not the folder of a run: it has no settings.json"),
        (["one", "unfinished"], "{root}/unfinished/metrics: no validity.parquet: the run is not finished"),
    ],
)
def test_errors_are_one_line(folders, tmp_path, capsys, chosen, message):
    root = folders[0].parent
    if "unfinished" in chosen and not (root / "unfinished").exists():
        shutil.copytree(root / "one", root / "unfinished", ignore=shutil.ignore_patterns("metrics"))
    arguments = ["compare", *(str(root / name) for name in chosen), "--output", str(tmp_path / "output")]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message.format(root=root) in error and error.count("\n") == 1
    assert error.startswith("cortex compare: error: ") and not (tmp_path / "output").exists()


def test_a_missing_file_of_a_run_is_named(folders, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folders[1], broken)
    shutil.rmtree(broken / "evaluation" / "image_level" / METHODS[0] / "cnn" / "1")
    with pytest.raises(InputError, match=r"broken/evaluation/image_level/tis/cnn/1/vit: no evaluations"):
        compare_runs((folders[0], broken), output=tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_the_page_needs_no_other_file_and_escapes_names(compared, page):
    assert not page.all("script") and not page.all("link")[1:]
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes[name])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) and all(link["href"][1:] in ids for link in page.all("a"))
    assert "<b>judge" not in compared.page and "<b>judge" in page.text


def test_the_page_holds_the_numbers_of_the_tables(compared, page):
    for row in compared.tables["accuracy"]:
        assert row["accuracy"] in page.values
    for row in compared.tables["overlap"]:
        assert row["value"] in page.values
    for row in compared.tables["differences"]:
        assert row["difference"] in page.values
    for row in compared.tables["left_out"]:
        assert row["names"] in page.words and row["reason"] in page.words


def test_answers_say_what_the_tables_say(page):
    said = page.words.replace("\N{NO-BREAK SPACE}", " ")
    assert "−0.075 and −0.030 in one, −0.075 and −0.030 in two" in said
    assert "one against two: no difference found in all 32 comparisons." in said
    assert "share 4.3 of the first 5 tokens of a class (one and two)" in said
    assert "Two trainings of one run share 4.0 (one), 4.0 (two)." in said
    assert "7 are left out" in said
    assert "Judges with other weights in the runs: vit and <b>judge." in said
    assert "seed" in said and len(EXTRACTORS) == 2


def test_networks_that_guess_are_marked_above_what_depends_on_them(folders, tmp_path):
    guessing = tmp_path / "guessing"
    shutil.copytree(folders[1], guessing)
    rows = [row | {"valid": (row["name"], row["training"]) != ("cnn", 1)} for row in METRICS["validity"]]
    save(guessing / "metrics" / "validity.parquet", rows)
    compare_runs((folders[0], guessing), output=tmp_path / "output", resamples=20)
    text = (tmp_path / "output" / "compare.html").read_text()
    overview = text.partition('id="overview"')[2].partition("</section>")[0]
    assert overview.index("Invalid results.") < overview.index('class="card"')
    assert "Left out as invalid: extractor cnn of guessing." in " ".join(overview.split())
    table = text.partition('id="curves"')[2].partition("Differences of the excess")[2].partition("</table>")[0]
    assert table.count("<small>invalid</small>") == len(METHODS) * len(JUDGES)
