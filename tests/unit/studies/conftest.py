"""A config that fits the small generator."""

import pytest

from tests.training import ANIMAL_JUDGE


@pytest.fixture
def fitting(generator_weights):
    """A config for a generator of 7 classes, 4×4 grids and 24 codes; all other defaults fit it."""
    return {
        "run": "small",
        "generator": {"weights": str(generator_weights)},
        "extractors": {"cnn": {"network": "cnn"}},
        "judges": {"vit": ANIMAL_JUDGE},
        "concept_tokens": {"top_n": [1, 5], "tokens": 6},
        "codebook_search": {"region": {"top": 0, "left": 0}, "pairs": {0: 6}},
        "evaluation": {"accuracy": {"k": [1, 7]}, "image_level": {"n": [16]}, "concept_level": {"top_n": [5]}},
    }
