"""A trained extractor has a name and a number."""

import pytest

from cortex.core.errors import InputError
from cortex.extractors.names import join_name, split_name, training_seed

SEEDS = [0, 1, 2**63 - 1]


@pytest.mark.parametrize(
    ("word", "name", "training"), [("cnn/0", "cnn", 0), ("cnn", "cnn", 0), ("wide-2_b/17", "wide-2_b", 17)]
)
def test_a_word_is_a_name_and_a_training(word, name, training):
    assert split_name(word) == (name, training)
    assert split_name(join_name(name, training)) == (name, training)


@pytest.mark.parametrize(
    "word", ["", "/0", "cnn/", "cnn/-1", "cnn/01", "cnn/x", "cnn/0/1", "../cnn/0", "cnn/0\n", "cnn/²"]
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
