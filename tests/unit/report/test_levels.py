"""Levels: a method beside its baseline, over trainings; what the level pages say of it."""

import pytest

from cortex.report import findings, level_tables, levels, words
from cortex.report.sections import level_section
from tests.unit.report.example import JUDGES, LEVEL_ROWS, METRICS, NOTHING, ONE_TRAINING, TOP_N

COMPARISONS = METRICS["comparisons"]
IMAGE_LEVEL, CONCEPT_LEVEL, CODEBOOK_LEVEL = LEVEL_ROWS.values()


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def compared(level, baseline, rows=COMPARISONS):
    return levels.of_first_method(levels.compared(rows, LEVEL_ROWS[level], level, baseline))


def test_comparisons_stand_beside_the_rows_over_all_trainings():
    beside = compared("image_level", "random_area")
    assert len(beside) == 2 * 2 * 3  # extractors, judges, n
    for one in beside:
        assert one.row["training"] is one.method["training"] is one.baseline["training"] is None
        assert (one.method["method"], one.baseline["method"]) == ("importance", "random_area")
        assert one.method["n"] == one.baseline["n"] == one.row["setting"]
        assert one.row["attribution"] == one.method["attribution"] == "tis"


def test_frequent_tokens_of_the_same_list_and_area_are_the_baseline():
    for one in compared("concept_level", "frequency"):
        assert one.baseline["top_n"] is None
        assert (one.baseline["list"], one.baseline["area"]) == (one.row["list"], one.row["area"])


def test_one_training_gives_no_verdict():
    beside = levels.compared(ONE_TRAINING["comparisons"], ONE_TRAINING["image_level"], "image_level", "random")
    assert beside and {one.verdict for one in beside} == {None}
    (finding,) = findings.image_level_findings({"random": beside})
    assert "no verdict from one training. Mean change" in finding.headline


def test_image_level_findings_count_verdicts_and_say_what_masks_hide():
    (finding,) = findings.image_level_findings({"random_area": compared("image_level", "random_area")})
    assert "of the same area: better in 8, no difference found in 4 of 12 combinations" in finding.headline
    # Means over n = 1, 2, 4 (7 / 3) and both extractors (0.75 of the cost): 0.1 · 0.75 · 7 / 3; 0.06 · 0.75 · 7 / 3.
    assert "−0.175 (23.3 % of the area and 11.7 % of the brightness masked) against −0.105" in plain(finding.headline)


def test_concept_level_findings_tell_lists_and_equal_areas_apart():
    found = findings.concept_level_findings({"frequency": compared("concept_level", "frequency")})
    said = [plain(finding.headline) for finding in found]
    assert len(said) == 4
    (contrast,) = [text for text in said if text.startswith("Contrast tokens against frequent tokens of equal area")]
    assert "better in all 8 combinations of extractor, judge and area" in contrast
    assert "−0.400 (30.0 % of the area" in contrast and "against −0.300" in contrast
    (count,) = [
        text for text in said if text.startswith("Concept tokens by count (published)") and "equal length" in text
    ]
    assert f"{NOTHING} in all 4 combinations of extractor, judge and top_n" in count


def test_codebook_level_findings():
    (finding,) = findings.codebook_level_findings({"embedding": compared("codebook_level", "embedding")})
    assert "better in all 4 pairs" in finding.headline
    assert "0.12 before, 0.55 after token selection, 0.25 after embedding optimisation." in finding.headline


def test_the_typical_number_of_tokens_masks_a_fifth_of_an_image():
    assert levels.typical_n(IMAGE_LEVEL) == 2  # 0.1 an n
    assert levels.typical_n(IMAGE_LEVEL, area=0.33) == 4


def test_averaged_scores_stand_beside_single_trainings():
    facts = levels.average_facts(IMAGE_LEVEL, "random_area")
    assert facts["single"] == pytest.approx(-0.175) and facts["average"] == pytest.approx(-0.215)
    assert facts["single_baseline"] == pytest.approx(-0.105)
    assert levels.average_facts([row for row in IMAGE_LEVEL if row["training"] != -1], "random_area") is None


def test_accuracy_findings_name_the_best_and_the_worst():
    (finding,) = findings.extractor_findings(METRICS["extractor_accuracy"], 7)
    assert "Top-1 accuracy on the tokens of 14 test images: resnet 87.5 %" in plain(finding.headline)
    assert "lowest of 2 extractors: cnn 75.0 %. Guessing among 7 classes: 14.3 %." in plain(finding.headline)
    (finding,) = findings.judge_findings(METRICS["judge_accuracy"])
    assert plain(finding.headline) == "Top-1 accuracy on 14 test images: vit 90.0 %, <b>judge 80.0 %."


def test_overlap_of_tokens():
    finding = findings.overlap_finding({"cnn": {0: [1, 2], 1: [3, 4]}}, {0: [1, 9, 8], 1: [3, 4, 5]})
    assert "among the 3 most frequent tokens of the class" in finding.headline
    assert "cnn 75.0\N{NO-BREAK SPACE}%." in finding.headline


def test_methods_and_averages_stand_side_by_side():
    beside = levels.compared(COMPARISONS, IMAGE_LEVEL, "image_level", "random_area")
    table = level_tables.scores_table("image_level", IMAGE_LEVEL, beside)
    rows = {tuple(cell.text for cell in row[:3]): row[3:] for row in table.rows}
    assert len(rows) == 2 * 2 * 2  # methods, extractors, single or averaged
    single, averaged = rows["tis", "resnet", "of single trainings"], rows["tis", "resnet", "averaged"]
    assert single[0].value == pytest.approx(-0.1 * 7 / 3) and averaged[0].value == pytest.approx(-0.1 * 7 / 3 - 0.04)
    assert single[2].text == "better 6" and averaged[2].text == "–"


def test_comparisons_name_the_method_of_importance_where_there_are_several():
    every = levels.compared(COMPARISONS, CONCEPT_LEVEL, "concept_level", "frequency")
    table = level_tables.comparisons_table(every, "concept_level")
    assert table.columns[:7] == ["extractor", "judge", "baseline", "attribution", "list", "area", "top_n"]
    assert len({tuple(cell.text for cell in row[: table.names]) for row in table.rows}) == len(table.rows)
    first = level_tables.comparisons_table(levels.of_first_method(every), "concept_level")
    assert "attribution" not in first.columns
    (row,) = [
        row
        for row in first.rows
        if [cell.text for cell in row[:6]] == [*["cnn", "vit", "frequency", "contrast"], "20\N{NO-BREAK SPACE}%", "2"]
    ]
    assert [cell.text for cell in row[8:]] == ["−0.100 (−0.150 to −0.040)", "0.031", "better"]


def test_agreement_has_extractors_and_pairs_in_columns():
    table = level_tables.agreement_table(METRICS["agreement"], TOP_N)
    assert table.columns == ["attribution", "measure", "list", "n", "cnn", "resnet", "cnn and resnet"]
    (row,) = [row for row in table.rows if (row[0].text, row[2].text) == ("tis", "contrast")]
    assert [cell.text for cell in row] == [
        *("tis", "token overlap", "contrast", "5"),
        *("0.40 (0.28 to 0.53)", "0.60 (0.47 to 0.72)", "0.20 (0.08 to 0.33)"),
    ]


def test_a_judge_trained_elsewhere_is_shown_without_a_history():
    accuracy = [
        row | {"judge": "b16"} for row in METRICS["judge_accuracy"] if row["k"] == 1 and row["judge"] == JUDGES[0]
    ]
    seen = [{"judge": "b16", "probability": 0.25, "probability_change": -0.5}]
    (row,) = level_tables.judges_table({"b16": []}, accuracy, seen).rows
    assert [plain(cell.text) for cell in row] == ["b16", "90.0 % (83.8 to 93.1)", "0.750"]
    trained = {"b16": [], "own": [{"epoch": 2, "held_out_top1": 0.5}]}
    row, _ = level_tables.judges_table(trained, accuracy, seen).rows
    assert [plain(cell.text) for cell in row] == ["b16", "–", "–", "90.0 % (83.8 to 93.1)", "0.750"]


@pytest.mark.parametrize(
    ("value", "text"), [(-0.1234, "−0.123"), (0.5, "+0.500"), (0.0, "+0.000"), (-0.00012, "−1e−04"), (0.0005, "+0.001")]
)
def test_changes_in_words(value, text):
    assert words.change(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(-0.342, "34 points"), (0.01, "1 point"), (-0.0012, "0.1 points"), (0.0003, "0 points")]
)
def test_points_in_words(value, text):
    assert plain(words.points(value)) == text


@pytest.mark.parametrize(("value", "text"), [(0.934, "93 %"), (0.0004, "<1 %"), (0, "0 %"), (1, "100 %")])
def test_shares_in_words(value, text):
    assert plain(words.rounded(value)) == text


@pytest.mark.parametrize("level", LEVEL_ROWS)
def test_rows_of_the_judges_mean_stand_in_the_full_table_alone(level):
    rows = LEVEL_ROWS[level]
    means = [row | {"judge": None} for row in rows if row["judge"] == JUDGES[0]]
    alone, both = (level_section(level, part, COMPARISONS, []) for part in (rows, [*rows, *means]))
    assert (both.table, both.findings, both.comparisons) == (alone.table, alone.findings, alone.comparisons)
    assert len(both.every_row.rows) == len(alone.every_row.rows) + len(means) > len(alone.every_row.rows)
