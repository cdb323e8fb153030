"""How often intervals over trainings and images hold the truth, by simulation: the table in METHOD.md, section 9.

    python -m tests.interval_coverage

The data follow the crossed model: values of T trainings × N images, with expectation 0. The share of the variance of
their mean that comes from the trainings is given.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cortex.evaluate.estimates import mean_squares, over_trainings
from cortex.evaluate.intervals import mean_intervals

TRAININGS, IMAGES = 3, 400
SHARES = (0, 0.25, 0.5, 0.75, 0.9, 0.99)  # of the variance of the mean, from trainings
SETS, BOOTSTRAPPED, RESAMPLES = 20_000, 2_000, 1_000
Values = NDArray[np.float64]  # [trainings, sets, images]


def drawn(
    rng: np.random.Generator, share: float, sets: int, trainings: int = TRAININGS, images: int = IMAGES
) -> Values:
    """Values of expectation 0; half of the variance within a training is the image's own."""
    by_images = (0.5 + 0.5 / trainings) / images  # their part of the variance of the mean
    sd = np.sqrt(trainings * by_images * share / (1 - share))
    return (
        sd * rng.normal(size=(trainings, sets, 1))
        + np.sqrt(0.5) * rng.normal(size=(1, sets, images))
        + np.sqrt(0.5) * rng.normal(size=(trainings, sets, images))
    )


def satterthwaite(values: Values) -> Values:
    """P-values of the t-test with the estimated variance of the mean and Satterthwaite's degrees of freedom."""
    trainings, _, images = values.shape
    squares, signs = np.stack(mean_squares(values)), np.array([1, 1, -1])[:, None]
    free = np.array([trainings - 1, images - 1, (trainings - 1) * (images - 1)])[:, None]
    total = (signs * squares).sum(0)
    t = values.mean((0, 2)) / np.sqrt(np.maximum(total, 1e-12) / (trainings * images))
    return 2 * stats.t.sf(np.abs(t), total**2 / (squares**2 / free).sum(0))


def bootstrap_of_both(rng: np.random.Generator, values: Values) -> tuple[Values, Values]:
    """Percentile intervals of the means over resampled trainings and images."""
    trainings, sets, images = values.shape
    of_images = rng.multinomial(images, np.full(images, 1 / images), RESAMPLES) / images
    of_trainings = rng.multinomial(trainings, np.full(trainings, 1 / trainings), RESAMPLES) / trainings
    means = np.zeros((sets, RESAMPLES))
    for training in range(trainings):
        means += values[training] @ of_images.T * of_trainings[:, training]
    low, high = np.percentile(means, [2.5, 97.5], axis=1)
    return low, high


def row_of(share: float) -> list[float]:
    """Coverage of four intervals, and how often two tests find p < 0.001 where nothing is, in percent."""
    rng = np.random.default_rng(0)
    p, approximate = [], []
    for _ in range(SETS // BOOTSTRAPPED):
        values = drawn(rng, share, BOOTSTRAPPED)
        p.append(over_trainings(values).p)
        approximate.append(satterthwaite(values))
    tests = np.concatenate(p), np.concatenate(approximate)
    intervals = bootstrap_of_both(rng, values), mean_intervals(values.mean(0), RESAMPLES, seed=0)
    held = [np.mean((low < 0) & (high > 0)) for low, high in intervals]
    return [100 * rate for rate in (*(np.mean(p >= 0.05) for p in tests), *held, *(np.mean(p < 0.001) for p in tests))]


if __name__ == "__main__":
    columns = ["pivotal quantity", "Satterthwaite", "bootstrap of both", "bootstrap of images"]
    columns += [f"p < 0.001, {name}" for name in columns[:2]]
    print("| share of the trainings |", " | ".join(columns), "|")
    for share in SHARES:
        rates = [f"{rate:.2f} %" if rate < 5 else f"{rate:.1f} %" for rate in row_of(share)]
        print(f"| {100 * share:.0f} % |", " | ".join(rates), "|")
