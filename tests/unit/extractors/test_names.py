"""A trained extractor has a name and a number."""

import pytest

from cortex.core.errors import InputError
from cortex.extractors.names import AVERAGE, by_extractor, join_name, split_name, training_seed, trainings_alone

SEEDS = [0, 1, 2**63 - 1]


@pytest.mark.parametrize(
    ("word", "name", "training"),
    [("cnn/0", "cnn", 0), ("cnn", "cnn", 0), ("wide-2_b/17", "wide-2_b", 17), ("cnn/average", "cnn", AVERAGE)],
)
def test_a_word_is_a_name_and_a_training(word, name, training):
    assert split_name(word) == (name, training)
    assert split_name(join_name(name, training)) == (name, training)


@pytest.mark.parametrize(
    "word", ["", "/0", "cnn/", "cnn/-1", "cnn/01", "cnn/x", "cnn/0/1", "../cnn/0", "cnn/0\n", "cnn/²", "cnn/averages"]
)
def test_other_words_are_refused_in_one_line(word):
    with pytest.raises(InputError, match=r"extractor .*: allowed: a name, or .* as in cnn/0") as told:
        split_name(word)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_first_training_has_the_runs_seed(seed):
    assert training_seed(seed, 0) == seed


def test_trainings_have_seeds_of_their_own():
    seeds = [training_seed(seed, training) for seed in SEEDS for training in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert training_seed(7, 1) == 7742925702193269168, "derived seeds are part of the results"


def test_a_negative_training_is_refused():
    with pytest.raises(InputError, match="--training = -1: allowed: 0 and more"):
        training_seed(0, -1)


def test_values_are_grouped_by_extractor_and_training():
    found = by_extractor({("cnn/0", "vit"): 1, ("cnn/2", "vit"): 2, ("cnn/average", "vit"): 3, ("wide/0", "vit"): 4})
    assert found == {("cnn", "vit"): {0: 1, 2: 2, AVERAGE: 3}, ("wide", "vit"): {0: 4}}
    assert trainings_alone(found["cnn", "vit"]) == [1, 2]
