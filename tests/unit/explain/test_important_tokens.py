"""The images behind tokens: against sets of keys that are collected image by image, and against the concept tokens."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from cortex.data.tokens import Tokens
from cortex.explain.concept_tokens import concept_table
from cortex.explain.important_tokens import important_tokens
from cortex.explain.settings import ConceptTokens


@pytest.fixture
def parts():
    """Images of the classes 0 to 2 in two parts; codes 0 to 5, so that they stand at several positions of an image."""
    rng = np.random.default_rng(0)

    def part(name, count):
        keys = [f"{name}{row}" for row in range(count)]
        tokens = rng.integers(0, 6, (count, 12)).astype(np.uint16)
        scores = {"importance": rng.normal(size=(count, 12)).astype(np.float32)}
        return Tokens(keys, rng.integers(0, 3, count), tokens, (3, 4), scores)

    return [part("a", 9), part("b", 5)]


@pytest.mark.parametrize("label", [None, 0, 2])
@pytest.mark.parametrize("top_n", [1, 4, 12])
def test_every_token_names_its_images(parts, label, top_n):
    counts, behind = Counter(), defaultdict(list)
    for part in parts:
        for key, own, tokens, scores in zip(
            part.keys, part.labels, part.tokens, part.scores["importance"], strict=True
        ):
            if label not in (None, own):
                continue
            top = [int(tokens[place]) for place in sorted(range(12), key=lambda place: -scores[place])[:top_n]]
            counts.update(top)
            for token in set(top):
                behind[token].append(key)
    rows = important_tokens(parts, top_n, label).to_pylist()
    assert [row["token"] for row in rows] == sorted(counts, key=lambda token: (-counts[token], token))
    for row in rows:
        assert row["count"] == counts[row["token"]]
        assert row["keys"] == behind[row["token"]] and row["images"] == len(row["keys"])


def test_counts_of_a_class_are_those_of_its_concept_tokens(parts):
    concepts = concept_table(parts, 6, ConceptTokens(top_n=[4], tokens=6)).to_pylist()
    for label in range(3):
        listed = [(row["token"], row["count"]) for row in concepts if row["label"] == label and row["list"] == "count"]
        found = important_tokens(parts, 4, label)
        assert list(zip(found["token"].to_pylist(), found["count"].to_pylist(), strict=True)) == listed


def test_a_class_without_images_has_no_tokens(parts):
    assert important_tokens(parts, 4, label=7).num_rows == 0
