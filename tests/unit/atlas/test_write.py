"""The atlas of a run: what its parts say, against the run's own tables."""

import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cortex.atlas import PAGE
from cortex.atlas.settings import Atlas
from cortex.atlas.write import best_first, measured_causes, write_atlas
from cortex.core.errors import InputError
from cortex.core.files import files_below
from cortex.core.tables import read_table
from cortex.data.decoded import read_decoded
from cortex.data.tokens import read_tokens
from cortex.report.cards import Cards
from cortex.report.results import RunFiles
from tests.manifests import leave_strays
from tests.unit.atlas.run import (
    CJK,
    CODES,
    EVIL,
    EXTRACTORS,
    JUDGES,
    KINDS,
    MARKED,
    NAMES,
    SEARCHED,
    N,
    write_lookup_atlas,
)
from tests.unit.report.example import CLASSES, save

EXPLAINED = [f"tis/{name}" for name in EXTRACTORS]


def test_the_page_loads_its_files_from_its_own_folder(written):
    page = (written / "index.html").read_text()
    for name in [path.name for path in PAGE.glob("*.js")]:
        assert f'<script defer src="{name}"></script>' in page and (written / name).is_file()
    assert "http" not in page and "//" not in page
    assert not list(written.parent.glob(".*")), "nothing temporary is left"


def test_files_of_an_earlier_run_change_nothing(written, looked_up, generator_weights, tmp_path):
    folder = shutil.copytree(looked_up, tmp_path / "zoo")
    leave_strays(folder)
    write_lookup_atlas(folder, generator_weights)
    files = [path.relative_to(written) for path in files_below(written)]
    assert [path.relative_to(folder / "atlas") for path in files_below(folder / "atlas")] == files
    for path in files:
        assert (folder / "atlas" / path).read_bytes() == (written / path).read_bytes(), path


def test_facts_of_the_run_are_stated(part):
    facts = part("run")
    assert facts["classes"] == {str(label): name for label, name in enumerate(NAMES)}
    assert facts["classes"]["1"] == EVIL and facts["classes"]["2"] == CJK
    assert (facts["codes"], facts["tilings"], facts["labels"]) == (CODES, [[4, 4]], list(range(CLASSES)))
    assert (facts["explained"], facts["scores"]) == (EXPLAINED, [f"{name}/average" for name in EXPLAINED])
    assert facts["sample"]["origin"].startswith("the first 2 test images of each class")
    assert facts["sample"]["labels"] == sorted([*range(CLASSES), *range(CLASSES)])
    assert (facts["least_images"], facts["top_n"]) == (1, 5)
    assert (facts["test_images"], facts["tables"]) == (2 * CLASSES, "../")
    assert facts["bounds"] == {"marks": pytest.approx(1 / 7 + 0.5 * 6 / 7), "shared": 1.5, "least_share": 0.25}
    assert {name: facts["measured"][name] for name in ("pairs", "marking")} == {"pairs": 2, "marking": 2}
    assert facts["measured"]["masked"] == {"images": 1, "lower": 1, "higher": 0}, "one pair has a single image"
    assert facts["measured"]["placed"] == {"images": 1, "lower": 0, "higher": 1}


def test_causes_are_counted_over_all_measured_pairs():
    kinds = ["background", "marks a class", "marks a class", "shared by classes"]
    codes = pa.table({"kind": kinds, "classes": [[], [3], [4], [4, 3]]})
    none = np.nan
    rows = {
        "token": np.array([0, 1, 1, 2, 3]),
        "label": np.array([3, 3, 4, 4, 4]),
        "masked": np.array([-0.2, -0.1, none, -0.3, 0.1]),
        "masked_images": np.array([2, 9, none, 1, 4]),
        "masked_excess_low": np.array([-0.3, 0.1, none, -0.5, -0.1]),
        "masked_excess_high": np.array([-0.1, 0.3, none, -0.1, 0.1]),
    }
    assert measured_causes(codes, rows) == {
        "pairs": 4,
        "marking": 2,
        "marked": 2,
        "masked": {"images": 3, "lower": 1, "higher": 1},
    }


def test_the_extractor_of_the_report_comes_first(tmp_path):
    names = ("cnn/average", "resnet/average", "transformer/0")
    assert best_first(tmp_path, names) == list(names), "accuracies are unknown"
    rows = [
        {"extractor": name, "training": training, "split": split, "k": k, "accuracy": accuracy}
        for name, training, split, k, accuracy in (
            ("cnn", None, "test", 1, 0.7), ("resnet", None, "test", 1, 0.8), ("transformer", None, "test", 1, 0.75),
            ("cnn", 0, "test", 1, 0.9), ("cnn", None, "validation", 1, 0.9), ("transformer", None, "test", 3, 0.9),
        )
    ]  # fmt: skip
    (tmp_path / "metrics").mkdir()
    save(tmp_path / "metrics" / "extractor_accuracy.parquet", rows)
    assert best_first(tmp_path, names) == ["resnet/average", "cnn/average", "transformer/0"]
    files = RunFiles(tmp_path, ("cnn/0", "resnet/0", "transformer/0"), (), (), (), ("tis",), 9)
    files.__dict__["metrics"] = {"extractor_accuracy": rows}
    assert Cards(files, (), 5, None).extractor == "resnet/0"


def test_the_wall_has_every_code_with_the_values_of_the_tables(part, looked_up):
    wall, codes = part("codes"), read_table(looked_up / "codes.parquet").to_pylist()
    assert sorted(wall["order"]) == list(range(CODES))
    rows = read_table(looked_up / "dictionary.parquet").to_pylist()
    for token, code in enumerate(codes):
        assert part("run")["kinds"][wall["kind"][token]] == code["kind"]
        assert wall["first"][token] == (code["classes"][0] if code["classes"] else -1)
        for name in ("count", "images", "contexts"):
            assert wall[name][token] == code[name]
        assert wall["class_share"][token] == pytest.approx(code["class_share"], rel=1e-3)
        for name in EXPLAINED:
            of_code = [(row["count"], row[f"importance/{name}"]) for row in rows if row["token"] == token]
            scored = [(times, score) for times, score in of_code if score is not None]
            expected = np.average([s for _, s in scored], weights=[t for t, _ in scored]) if scored else None
            assert wall["importance"][name][token] == (None if expected is None else pytest.approx(expected, abs=1e-3))
    assert [wall["first"][code] for code in MARKED.values()] == list(MARKED)


def test_a_code_has_its_rows_of_the_dictionary_and_its_neighbours(part, looked_up):
    found, codes = part("tokens/0"), read_table(looked_up / "codes.parquet").to_pylist()
    assert len(found) == CODES
    rows = read_table(looked_up / "dictionary.parquet").to_pylist()
    for token, code in enumerate(found):
        assert code["nearest"] == codes[token]["nearest"] and code["heat"] == codes[token]["heat"]
        expected = sorted((row for row in rows if row["token"] == token), key=lambda row: -row["class_share"])
        assert code["of"] == len(expected) == len(code["rows"].get("label", []))
        for name in ("class_share", "label") if expected else ():
            assert code["rows"][name] == pytest.approx([row[name] for row in expected], rel=1e-3)
    rows = found[MARKED[2]]["rows"]
    place = rows["label"].index(2)
    assert rows["masked"][place] == pytest.approx(-0.31) and rows["placed_random"][place] == pytest.approx(0.04)
    assert rows["contrast_rank/tis/cnn"][place] == 0 and "count_rank/tis/cnn" not in rows


def test_a_cause_of_one_image_has_no_interval_and_an_absent_code_no_place(part):
    found = part("tokens/0")
    rows = found[MARKED[5]]["rows"]
    place = rows["label"].index(5)
    assert (rows["masked"][place], rows["masked_images"][place]) == (pytest.approx(-0.3), 1)
    assert "masked_low" not in rows and "placed_excess_high" not in rows, "columns without values"
    absent = found[CODES - 1]
    assert (absent["row"], absent["column"], set(absent["heat"])) == (None, None, {0})


def test_a_class_has_its_codes_by_log_odds_and_what_masks_do(part):
    found = part("classes/2")
    lower = [value for value in found["rows"]["log_odds_low"] if value is not None]
    assert lower == sorted(lower, reverse=True) and found["rows"]["token"][0] == MARKED[2]
    assert set(found["rows"]["label"]) == {2}
    of_level = [row for row in found["changes"] if row["level"] == "image_level"]
    assert len(of_level) == len(EXTRACTORS) * len(JUDGES) * len(N), "over trainings, to the masks of equal area alone"
    assert {row["training"] for row in found["changes"]} == {None} and {row["label"] for row in found["changes"]} == {2}
    assert sorted({(row["setting"], row["difference"]) for row in of_level}) == [(1, -0.01), (2, -0.02), (4, -0.04)]


def test_an_image_has_its_pixels_tokens_scores_and_judged_masks(part, written, looked_up):
    tables = sorted((looked_up / "data" / "test").glob("*.parquet"))
    images = read_tokens(tables)
    pixels = np.concatenate([read_decoded(path.parent / "images" / f"{path.stem}.npy") for path in tables])
    facts = part("run")["sample"]
    for row, (key, label) in enumerate(zip(facts["keys"], facts["labels"], strict=True)):
        of_class, (place,) = part(f"images/{label}"), images.rows_of([key])
        at = row - of_class["first"]
        with Image.open(written / of_class["sheet"]) as sheet:
            drawn = np.asarray(sheet)[:, 8 * at : 8 * (at + 1)]
        assert np.array_equal(drawn, pixels[place]) and of_class["tokens"][at] == images.tokens[place].tolist()
        assert of_class["read"] == {judge: [label, label] for judge in JUDGES}
        for scores in of_class["scores"].values():
            assert np.std(scores[at]) == pytest.approx(1, rel=1e-3)
        assert len(of_class["masks"]) == len(EXPLAINED) * len(JUDGES)
        for mask in of_class["masks"]:
            assert mask["n"] == N and mask["before"][at] == pytest.approx(0.9)
            assert mask["importance"][at] == pytest.approx([0.8, 0.7, 0.5])
            assert mask["random_area"][at] == pytest.approx([0.88, 0.86, 0.82])


def test_a_search_is_decoded_at_the_step_that_the_judge_likes_best(part, written):
    of_class = part("images/0")
    assert [search["extractor"] for search in of_class["searches"]] == ["cnn/0"] * 2 + ["resnet/0"] * 2
    row = part("run")["sample"]["keys"].index(SEARCHED)
    before = of_class["tokens"][row - of_class["first"]]
    for search in of_class["searches"]:
        assert (search["image"], search["step"], search["judge"]) == (row, 3, JUDGES[0])
        assert (search["probability_before"], search["probability_after"]) == (0.125, 0.625)
        expected = [3 if place in (5, 6, 9, 10) else token for place, token in enumerate(before)]
        assert search["tokens"] == expected
    with Image.open(written / of_class["searched"]["sheet"]) as sheet:
        assert sheet.size == (4 * 8, 8)
    assert "searched" not in part("images/1") and part("images/1")["searches"] == []


def test_without_images_and_judges_the_codes_and_classes_remain(looked_up, tmp_path):
    bare = tmp_path / "bare"
    (bare / "generator").mkdir(parents=True)
    for name in ("codes.parquet", "dictionary.parquet", "generator/codebook.safetensors"):
        (bare / name).write_bytes((looked_up / name).read_bytes())
    write_atlas(bare / "atlas" / "index.html", bare, extractors=("cnn/0",), settings=Atlas(), kinds=KINDS)
    assert {path.name for path in (bare / "atlas" / "data").iterdir()} == {"run.js", "codes.js", "tokens", "classes"}


def test_a_folder_with_other_files_is_left_alone(looked_up, tmp_path):
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="mine: holds files and is no atlas"):
        write_atlas(other / "index.html", looked_up, extractors=("cnn/average",), settings=Atlas(), kinds=KINDS)
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


def test_the_page_has_its_own_name(looked_up, tmp_path):
    with pytest.raises(InputError, match=r"atlas\.html: the page is called index\.html, in a folder of its own"):
        write_atlas(tmp_path / "atlas.html", looked_up, extractors=("cnn/average",), settings=Atlas(), kinds=KINDS)


def test_an_error_leaves_the_old_atlas(looked_up, tmp_path):
    page = tmp_path / "atlas" / "index.html"
    (page.parent / "data").mkdir(parents=True)
    (page.parent / "data" / "run.js").write_text("old")
    with pytest.raises(InputError):
        write_atlas(page, looked_up, extractors=("none/0",), images="png", settings=Atlas(), kinds=KINDS)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["run.js"]
