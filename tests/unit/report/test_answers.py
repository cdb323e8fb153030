"""Five answers: each with its figures, no verdict from one training, invalid results left out."""

import dataclasses

import pytest

from cortex.report.answers import Evidence, agreement_facts, answers
from cortex.report.results import Reader
from tests.unit.report.example import EXTRACTORS, JUDGES, METRICS, NOTHING, ONE_TRAINING, TOP_N

LEVELS = ("image_level", "concept_level", "codebook_level")
EVIDENCE = Evidence(METRICS, 3, [], LEVELS, "The run has no judges.", ("contrast", TOP_N))
ONE = Evidence(ONE_TRAINING, 1, [], LEVELS, "The run has no judges.", ("contrast", TOP_N))


def told(evidence):
    """Short answers and texts."""
    return [(answer.short, text_of(answer)) for answer in answers(evidence)]


def text_of(answer):
    """Its figures in sentences."""
    return " ".join(answer.details).replace("\N{NO-BREAK SPACE}", " ")


def with_verdicts(level, verdict_of):
    """The evidence with other verdicts of a level's rows over all trainings."""
    rows = [
        row | {"verdict": verdict_of(row)} if row["level"] == level and row["training"] is None else row
        for row in METRICS["comparisons"]
    ]
    return dataclasses.replace(EVIDENCE, metrics=METRICS | {"comparisons": rows})


def test_the_questions_and_where_their_numbers_are():
    found = answers(EVIDENCE)
    assert [answer.question.partition(" ")[0] for answer in found] == ["Does", "Do", "Do", "How", "What"]
    assert [answer.links for answer in found] == [
        ["image-level"],
        ["concept-level"],
        ["codebook-level"],
        ["reliability"],
        ["reliability"],
    ]


def test_every_answer_has_its_figures():
    masking, concepts, searches, reliability, care = told(EVIDENCE)
    assert masking == (
        "In part: better in 8 of 12 combinations",
        "Masks of an image's important tokens lower the judges' probability of the class by 18 points on average, "
        "random masks of the same area by 10 points. Important tokens win in 8 of 12 combinations of extractor, judge "
        "and number of tokens and lose in none.",
    )
    assert concepts == (
        "In part: better in 8 of 16 combinations",
        "Masks of contrast tokens (30 % of the image) lower the judges' probability of the class by 40 points on "
        "average, masks of frequent tokens (30 %) by 30 points. They win in 8 of 8 combinations and lose in none. "
        "Masks of concept tokens by count, as published, (30 % of the image) lower the judges' probability of the "
        "class by 30 points, masks of frequent tokens (30 %) by 30 points. No difference is found in any of 8 "
        "combinations.",
    )
    assert searches[0] == "In part: above 50 % for 2 of 4 pairs"
    assert "from 12 % to 55 % on average (lowest 40 %, highest 70 %, of 4 pairs" in searches[1]
    assert "the baseline, to 25 %. Searched tokens win in 4 of 4 pairs and lose in none." in searches[1]
    assert searches[1].endswith(
        "No control was computed: the run has no study of what random tokens reach in the same region."
    )
    assert reliability[0] == "Two trainings share 2.5 of 5 concept tokens"  # 2 by cnn, 3 by resnet
    assert (
        "correlation of 0.50. The centred correlation, which subtracts each position's mean rank over the images "
        "first, is 0.25."
    ) in reliability[1]
    assert (
        "averaged over trainings lower the judges' probability of the class by 22 points, those of single trainings "
        "by 18" in reliability[1]
    )
    assert (
        care[0] == "Compare with random masks"
        and "another class than the label to 10 % to 20 % of the unmasked images" in care[1]
    )


@pytest.mark.parametrize(
    ("verdict_of", "short"),
    [
        (lambda row: "better", "Yes"),
        (lambda row: "worse", "No"),
        (lambda row: NOTHING, "No difference found"),
        (lambda row: "better" if row["setting"] == 1 else NOTHING, "In part: better in 4 of 12 combinations"),
        (lambda row: "worse" if row["setting"] == 1 else NOTHING, "No"),
        (lambda row: "better" if row["setting"] == 1 else "worse", "Mixed"),
    ],
)
def test_short_answers_follow_the_verdicts(verdict_of, short):
    assert told(with_verdicts("image_level", verdict_of))[0][0] == short


def test_one_training_gives_no_verdict_and_the_answers_say_so():
    masking, concepts, searches, reliability, _ = told(ONE)
    for short, text in (masking, concepts, searches):
        assert short == "No verdict"
        assert "One training of each extractor gives no verdict." in text and " win in " not in text
    assert "by 20 points on average" in masking[1]  # those of training 0: 0.175 + 0.02
    assert reliability[0] == "Unknown from one training" and "averaged" not in reliability[1]


def test_a_change_in_the_other_direction_is_named():
    rows = [
        row | {"probability_change": 0.05} if row["method"] == "random_area" else row for row in METRICS["image_level"]
    ]
    text = told(dataclasses.replace(EVIDENCE, metrics=METRICS | {"image_level": rows}))[0][1]
    assert "random masks of the same area raise it by 5 points." in text


def test_invalid_results_are_left_out_by_name():
    cnn = Reader("extractor", "cnn", 1, 0.15, 0.1, 0.2, 1 / 7, False)
    masking, *_, care = told(dataclasses.replace(EVIDENCE, invalid=[cnn]))
    assert masking[0] == "Yes"  # resnet alone
    assert "win in 6 of 6 combinations" in masking[1] and "Left out as invalid: cnn." in masking[1]
    assert care[0] == "Some results are invalid"
    assert care[1].startswith("Results that depend on cnn mean nothing: this network guesses. ")
    both = [Reader("judge", judge, None, 0.15, 0.1, 0.2, 1 / 7, False) for judge in JUDGES]
    short, text = told(dataclasses.replace(EVIDENCE, invalid=both))[0]
    assert short == "No valid result" and "vit and <b>judge" in text


def test_missing_levels_say_why():
    found = answers(
        dataclasses.replace(EVIDENCE, levels=(), metrics={"extractor_accuracy": METRICS["extractor_accuracy"]})
    )
    assert [answer.short for answer in found[:3]] == ["Not measured"] * 3
    assert found[0].details == ["The run has no judges."] and not found[0].measured and found[0].links == []
    assert "Without judges, nothing tests the explanations of the extractors." in text_of(found[4])


def test_studies_add_to_answers():
    studies = {
        "searches": [("Random codes reach more.", "mine")],
        "reliability": [("Truth is known.", "a"), ("Or not.", "b")],
    }
    masking, _, searches, reliability, _ = answers(dataclasses.replace(EVIDENCE, studies=studies))
    assert masking.added == []
    assert searches.added == [("Random codes reach more.", "mine-topic")] and "No control" not in text_of(searches)
    assert reliability.added == [("Truth is known.", "a-topic"), ("Or not.", "b-topic")]
    missing = answers(dataclasses.replace(EVIDENCE, studies=studies, levels=()))[2]
    assert missing.added == [] and not missing.measured


def test_agreement_is_that_of_the_shown_lists():
    assert agreement_facts(METRICS["agreement"], ("count", TOP_N))["shared"] == pytest.approx(4)
    facts = agreement_facts(METRICS["agreement"], ("contrast", TOP_N))
    assert (facts["n"], facts["lowest"], facts["highest"]) == (5, pytest.approx(2), pytest.approx(3))
    between = [row for row in METRICS["agreement"] if row["extractor"] != row["other_extractor"]]
    assert agreement_facts(between, ("contrast", TOP_N)) is None
    assert EXTRACTORS == ["cnn", "resnet"]
