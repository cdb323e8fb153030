"""Findings name the losses like the wins: the method's accuracies and levels."""

import pytest

from cortex.report import levels, words
from tests.unit.report.rows import (
    CODEBOOK_LEVEL,
    COMPARISONS,
    CONCEPT_LEVEL,
    IMAGE_LEVEL,
    JUDGES,
    NOTHING,
    accuracy_rows,
    codebook_row,
    compared,
    image_row,
)


def headlines(found):
    return " ".join(finding.headline for finding in found), " ".join(" ".join(finding.details) for finding in found)


def test_image_level_findings_count_verdicts_and_name_where():
    random, area = levels.image_level_findings(IMAGE_LEVEL, COMPARISONS)
    assert "against random tokens: better in 7, worse in 1 of 8 combinations" in random.headline
    # Means over n = 1 and 4: changes −0.25, area 12.5 %, brightness 5 % against −0.125, 12.5 % and 2.5 %.
    text = random.headline.replace("\N{NO-BREAK SPACE}", " ")
    assert "probability: −0.250 (12.5 % of the area and 5.0 % of the brightness masked) against" in text
    assert "against −0.125 (12.5 % and 2.5 %)." in text
    assert random.details == ["Worse: cnn with judge <b>judge at n = 4."]
    assert "random positions of the same area: better in 4, no difference found in 4 of 8" in area.headline
    assert area.details == ["No difference found: resnet with judge vit at any n; resnet with judge <b>judge at any n."]
    assert "hide less brightness" in area.headline
    assert "hide less brightness" not in random.headline


@pytest.mark.parametrize(("change", "verdict", "more"), [(-0.2, "better", 0), (0.1, "worse", 1), (-0.1, NOTHING, 0)])
def test_findings_at_the_extremes(change, verdict, more):
    rows = [image_row("cnn", "vit", "importance", 5, change), image_row("cnn", "vit", "random", 5, -0.1)]
    (finding,) = levels.image_level_findings(rows, compared("image_level", rows, lambda *_: verdict))
    assert f"{verdict} in 1 of 1 combinations" in finding.headline
    assert len(finding.details) == more
    if more:
        assert "does not lower the label's probability" in finding.details[0]


def test_concept_level_findings_tell_the_areas():
    (finding,) = levels.concept_level_findings(CONCEPT_LEVEL, COMPARISONS)
    assert "better in 2, no difference found in 2 of 4 combinations" in finding.headline
    assert "(22.5\N{NO-BREAK SPACE}% of the area" in finding.headline
    assert finding.details == ["No difference found: resnet with judge vit at any top_n."]


def test_codebook_level_findings():
    (finding,) = levels.codebook_level_findings(CODEBOOK_LEVEL, COMPARISONS)
    assert "better in 1, worse in 1 of 2 pairs" in finding.headline
    assert "Mean change of the target's probability: +0.275 against +0.150." in finding.headline
    assert finding.details == [
        "Worse: resnet with judge vit.",
        "Token selection does not raise the probability for resnet with judge vit.",
    ]


def test_a_baseline_that_hardly_moves_is_named():
    rows = [
        *CODEBOOK_LEVEL[:2],
        *(codebook_row("resnet", JUDGES[0], method, 0.1, 0.09) for method in ("token_selection", "embedding")),
    ]
    (finding,) = levels.codebook_level_findings(rows, compared("codebook_level", rows, lambda *_: "better"))
    assert "+0.295 against +0.095" in finding.headline
    (hardly,) = [words for words in finding.details if "hardly" in words]
    assert "hardly moves the probability (less than 0.05) for resnet with judge vit: a weak" in hardly
    assert "Without these pairs: +0.600 against +0.200." in hardly


def test_accuracy_findings_say_who_only_guesses():
    rows = accuracy_rows("extractor", {"cnn": (0.75, 1.0), "resnet": (0.25, 0.9), "transformer": (0.5, 0.9)})
    headline, details = headlines(levels.extractor_findings(rows, 4))
    assert "Top-1 accuracy on the tokens of 12 test images: cnn 75.0\N{NO-BREAK SPACE}%" in headline
    assert "lowest of 3 extractors: resnet 25.0\N{NO-BREAK SPACE}%" in headline
    assert "Chance level of 4 classes: 25.0\N{NO-BREAK SPACE}%" in headline
    assert details == "Not above chance level: resnet. Their explanations say nothing about the classes."


def test_overlap_of_tokens():
    finding = levels.overlap_finding({"cnn": {0: [1, 2], 1: [3, 4]}}, {0: [1, 9, 8], 1: [3, 4, 5]})
    assert "among the 3 most frequent tokens of the class" in finding.headline
    assert "cnn 75.0\N{NO-BREAK SPACE}%." in finding.headline


@pytest.mark.parametrize(
    ("value", "text"), [(-0.1234, "−0.123"), (0.5, "+0.500"), (0.0, "+0.000"), (-0.00012, "−1e−04"), (0.0005, "+0.001")]
)
def test_changes_in_words(value, text):
    assert words.change(value) == text
