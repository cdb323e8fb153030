"""Kinds of codes (METHOD.md, section 12): by hand, on planted grids, and whether probabilities are what they say."""

import numpy as np
import pytest
from scipy import stats

from cortex.dictionary.kinds import BACKGROUND, KINDS, MARKS, SHARED, UNUSED, kinds_of
from cortex.dictionary.occurrences import count_occurrences
from cortex.dictionary.settings import Kinds
from cortex.studies.planted.grids import BACKGROUND as NO_ROLE
from cortex.studies.planted.grids import OWN, SHORTCUT, choose_codes, draw_grids
from cortex.studies.planted.grids import SHARED as SHARED_ROLE
from tests.unit.dictionary.simulated import simulated

FEW = Kinds(least_share=0.0025)


def test_by_hand(packed):
    """Four classes of two images, grids of two positions. Chance is 1/4, so a class needs more than 5/8."""
    grids = {
        0: [[0, 1], [0, 1]],
        1: [[3, 1], [3, 1]],
        2: [[2, 3], [2, 3]],
        3: [[2, 3], [2, 3]],
    }
    images = [[grid] for grids_of_class in grids.values() for grid in grids_of_class]
    bounds = Kinds(least_share=0.5)  # one image
    found = kinds_of(count_occurrences(packed(np.repeat(range(4), 2), images), 6), bounds)
    assert [KINDS[kind] for kind in found.kinds] == [
        "marks a class",
        "shared by classes",
        "shared by classes",
        "background",  # in three of four classes: of one class 4/3 times as often as by chance
        "hardly used",
        "hardly used",
    ]
    assert found.classes.to_pylist() == [[0], [0, 1], [2, 3], [], [], []]
    assert found.class_share.tolist() == pytest.approx([1, 1 / 2, 1 / 2, 1 / 3, 0, 0])
    assert found.same_class.tolist() == pytest.approx([4, 2, 2, 4 / 3, 0, 0])
    assert found.sure[:4].tolist() == [1] * 4, "no image differs from another of its class"
    # A code that was not seen: of Gamma(1/2), the probability to be below 1.
    assert found.sure[4] == pytest.approx(stats.gamma(0.5).cdf(1))


def test_probabilities_by_hand(packed):
    """Two classes of four images with one position: code 1 is in three of class 0 and in one of class 1."""
    tokens = [1, 1, 1, 0, 1, 0, 0, 0]
    found = kinds_of(count_occurrences(packed([0] * 4 + [1] * 4, [[[token]] for token in tokens]), 2), FEW)
    # Rates 3/4 and 1/4, each of variance 1/16: p (1 − p) / 3. Share 3/4, as much as is needed: half way from 1/2 to 1.
    assert found.kinds.tolist() == [MARKS, MARKS]
    assert found.sure.tolist() == pytest.approx([0.5, 0.5])
    less = kinds_of(
        count_occurrences(packed([0] * 4 + [1] * 4, [[[t]] for t in tokens]), 2), Kinds(least_share=0.25, marks=0.2)
    )
    # Needed: 0.6. The rate less 0.6 of both: 0.15; variance (0.4² + 0.6²) / 16.
    assert less.sure.tolist() == pytest.approx([stats.norm.cdf(0.15 / np.sqrt(0.52 / 16))] * 2)


def test_the_label_does_not_depend_on_the_number_of_images(packed):
    """A code in a tenth of the images of one class, of 2 classes of 10 or of 40 images."""
    for images in (10, 40):
        tokens = [[[1 if place < images // 10 else 0]] for place in range(2 * images)]
        counted = count_occurrences(packed(np.repeat([0, 1], images), tokens), 2)
        assert kinds_of(counted, Kinds(least_share=0.1)).kinds[1] == MARKS
        assert kinds_of(counted, Kinds(least_share=0.11)).kinds[1] == UNUSED


@pytest.mark.parametrize("classes", [4, 10])
@pytest.mark.parametrize("clumping", [1.0, 4.0])
def test_at_the_bound_a_probability_is_as_often_low_as_it_says(classes, clumping):
    """A class with exactly the share that marks it: below p in a share p of all codes."""
    needed = 1 / classes + 0.5 * (1 - 1 / classes)
    rates = [2 * needed, *[2 * (1 - needed) / (classes - 1)] * (classes - 1)]
    bounds = Kinds(least_share=0.0025, shared=1)  # all that marks no class is shared
    found = kinds_of(simulated(np.random.default_rng(0), rates, 400, 3000, clumping), bounds)
    marks = np.where(found.kinds == MARKS, found.sure, 1 - found.sure)
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert (marks < level).mean() == pytest.approx(level, abs=0.03)
    assert set(found.kinds.tolist()) == {MARKS, SHARED}


@pytest.mark.parametrize("clumping", [1.0, 4.0])
def test_at_the_bound_of_the_background_too(clumping):
    """Rates 1 + a and 1 − a: occurrences are of one class 1 + a² times as often as by chance."""
    a = np.sqrt(0.5)
    found = kinds_of(simulated(np.random.default_rng(1), [1 + a, 1 - a] * 5, 400, 3000, clumping), FEW)
    shared = np.where(found.kinds == SHARED, found.sure, 1 - found.sure)
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert (shared < level).mean() == pytest.approx(level, abs=0.04)
    assert found.same_class.mean() == pytest.approx(1.5, abs=0.01), "without bias"


def test_codes_that_are_rare_in_many_classes_are_background():
    """Thirty occurrences in a thousand classes: none of them has two classes in common by more than chance."""
    found = kinds_of(simulated(np.random.default_rng(2), [0.01] * 1000, 3, 500), Kinds())
    assert (found.kinds != MARKS).all()
    assert (found.kinds == BACKGROUND).mean() > 0.4 and found.same_class.mean() == pytest.approx(1, abs=0.5)


def test_one_class_has_nothing_to_mark(packed):
    found = kinds_of(count_occurrences(packed([2, 2], [[[0, 1]], [[0, 1]]]), 3), FEW)
    assert found.kinds.tolist() == [BACKGROUND, BACKGROUND, UNUSED]


@pytest.mark.parametrize("variant", ["plain", "shortcut", "shared", "combination"])
def test_planted_codes_are_of_the_planted_kind(packed, variant):
    rng = np.random.default_rng(5)
    planted = choose_codes(variant, 4, 64, 4, rng)
    labels = np.arange(1200) % 4
    grids, _ = draw_grids(variant, planted, labels, (8, 8), 8, rng)
    found = kinds_of(count_occurrences(packed(labels, grids), 64), Kinds())
    assert (found.kinds[planted.background] == BACKGROUND).all()
    expected = {OWN: MARKS, SHORTCUT: MARKS, SHARED_ROLE: SHARED, NO_ROLE: BACKGROUND}
    if variant == "combination":
        expected[OWN] = BACKGROUND  # by itself, no code of a pair says anything
    for label, codes in enumerate(planted.codes.tolist()):
        for code, role in zip(codes, planted.roles.tolist(), strict=True):
            assert found.kinds[code] == expected[role]
            neighbours = {label, label ^ 1} if role == SHARED_ROLE else {label}
            named = set(found.classes[code].as_py())
            assert named == (set() if expected[role] == BACKGROUND else neighbours)
            assert found.sure[code] > 0.95
