"""Random numbers are functions of what they are for: Philox4x32-10 and the numbers derived from it."""

import itertools

import numpy as np
import pytest
from scipy import stats

from cortex.core.randomness import key_seeds, philox, sample_seeds, uniforms


def slow_philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 as in Salmon et al. (SC 2011), section 3.3, on Python integers."""
    (a, b, c, d), (k0, k1) = counter, key
    for _ in range(10):
        left, right = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (right >> 32) ^ b ^ k0, right % 2**32, (left >> 32) ^ d ^ k1, left % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [a, b, c, d]


# Known-answer vectors of the Random123 library (kat_vectors, "philox4x32 10"): counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter, key, result):
    counter, key, result = ([int(word, 16) for word in words.split()] for words in (counter, key, result))
    assert philox(np.array(counter, np.uint32), np.array(key, np.uint32)).tolist() == result
    assert slow_philox(counter, key) == result


def test_philox_of_many_counters_is_philox_of_each():
    random = np.random.default_rng(0)
    counters = random.integers(0, 2**32, (5, 3, 4), dtype=np.uint32)
    keys = random.integers(0, 2**32, (5, 1, 2), dtype=np.uint32)
    expected = [[slow_philox(counters[i, j].tolist(), keys[i, 0].tolist()) for j in range(3)] for i in range(5)]
    assert philox(counters, keys).tolist() == expected


def test_a_uniform_is_the_first_53_bits_of_its_block():
    seeds = [0, 1, 2**32, 2**64 - 1, 0x0123456789ABCDEF]
    expected = np.empty((len(seeds), 4))
    for row, seed in enumerate(seeds):
        for place in range(4):
            high, low, _, _ = slow_philox([place, 0, 0, 0], [seed % 2**32, seed // 2**32])
            expected[row, place] = ((high * 2**32 + low) // 2**11) / 2**53
    assert np.array_equal(uniforms(np.array(seeds, np.uint64), 4), expected)


def test_a_sample_seed_depends_on_seed_split_class_and_index_alone():
    cases = [(7, 0, 3, 5), (2**64 - 1, 2, 999, 2**40 + 1), (0, 1, 0, 0)]
    for seed, stream, label, index in cases:
        high, low, _, _ = slow_philox([label, index % 2**32, index // 2**32, stream], [seed % 2**32, seed // 2**32])
        assert sample_seeds(seed, stream, [label], [index]).tolist() == [high * 2**32 + low]


def test_order_and_batching_change_nothing():
    labels, indices = np.repeat(np.arange(6), 7), np.tile(np.arange(7), 6)
    seeds = sample_seeds(3, 1, labels, indices)
    numbers = uniforms(seeds, 9)
    shuffled = np.random.default_rng(0).permutation(42)
    assert np.array_equal(sample_seeds(3, 1, labels[shuffled], indices[shuffled]), seeds[shuffled])
    assert np.array_equal(uniforms(seeds[shuffled], 9), numbers[shuffled])
    assert np.array_equal(np.concatenate([uniforms(seed, 9) for seed in np.split(seeds, 42)]), numbers)
    assert np.array_equal(uniforms(seeds, 4), numbers[:, :4]), "the first numbers do not depend on how many follow"
    keys = [f"test-{label}" for label in range(9)]
    assert np.array_equal(key_seeds(3, "noise", keys[::-1]), key_seeds(3, "noise", keys)[::-1])


def test_every_sample_purpose_and_data_set_has_its_own_numbers():
    labels, indices = np.repeat(np.arange(50), 20), np.tile(np.arange(20), 50)
    of_sets = [sample_seeds(seed, stream, labels, indices) for seed in (0, 1, 2**32) for stream in range(3)]
    of_keys = [
        key_seeds(seed, purpose, [f"test-{label}" for label in range(100)])
        for seed, purpose in itertools.product((0, 1), ("noise", "search"))
    ]
    seeds = np.concatenate([*of_sets, *of_keys])
    assert len(np.unique(seeds)) == len(seeds) == 9 * 1000 + 4 * 100
    assert len(np.unique(uniforms(seeds[:1000], 64))) == 1000 * 64


def test_uniforms_are_uniform_and_independent():
    numbers = uniforms(sample_seeds(0, 0, np.zeros(1000, int), np.arange(1000)), 64)
    assert numbers.dtype == np.float64 and numbers.min() >= 0 and numbers.max() < 1
    flat = numbers.ravel()
    # A false alarm once in a million seeds, and the seed is fixed.
    assert stats.kstest(flat, "uniform").pvalue > 1e-6
    for power in (1, 2, 3, 4):  # E[U^p] = 1 / (p + 1), Var[U^p] = 1 / (2p + 1) − 1 / (p + 1)²
        error = (1 / (2 * power + 1) - 1 / (power + 1) ** 2) ** 0.5 / len(flat) ** 0.5
        assert (flat**power).mean() == pytest.approx(1 / (power + 1), abs=5 * error)
    for first, second in ((numbers[:, :-1], numbers[:, 1:]), (numbers[:-1], numbers[1:])):  # steps; samples
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / first.size**0.5
