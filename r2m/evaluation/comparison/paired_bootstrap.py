"""Paired bootstrap test of the mean scores of several systems over the same images.

Images are drawn with replacement, the same ones for every system, and scores are averaged over them
(Efron and Tibshirani 1993, chapter 16; Koehn 2004 for machine translation).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_BLOCK = 1 << 22  # drawn images that are in memory at once


class PairedTest(NamedTuple):
    """Difference of the mean scores of two systems.

    Attributes:
        difference: mean of the second minus mean of the first.
        low: lower end of its 95 % confidence interval.
        high: upper end.
        p_value: two-sided p-value: twice the share of resamples with the opposite sign, at most 1
            and at least 1 / (resamples + 1).
        wins: images on which the second has the higher score.
        losses: images on which the first has the higher score.
        ties: images with equal scores.
    """

    difference: float
    low: float
    high: float
    p_value: float
    wins: int
    losses: int
    ties: int


def resampled_means(scores: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Computes mean scores over resampled images.

    Args:
        scores: float[R, N] of R systems on N images.
        resamples: number of times that N images are drawn.
        seed: seed of the random numbers.

    Returns:
        float64[resamples, R]; all systems are averaged over the same images.
    """
    _, count = scores.shape
    random = np.random.default_rng(seed)
    rows = max(1, _BLOCK // count)
    found = []
    for first in range(0, resamples, rows):
        drawn = min(rows, resamples - first)
        images = random.integers(count, size=(drawn, count), dtype=np.int64)
        images += np.arange(drawn)[:, None] * count  # one bin per resample and image
        times = np.bincount(images.ravel(), minlength=drawn * count).reshape(drawn, count)
        found.append(times @ scores.T / count)
    return np.concatenate(found)


def paired_test(first: np.ndarray, second: np.ndarray, means: np.ndarray) -> PairedTest:
    """Tests whether two systems differ.

    Args:
        first: float[N], scores of the first system.
        second: float[N], scores of the second system.
        means: float[resamples, 2], result of `resampled_means` for both.
    """
    differences = means[:, 1] - means[:, 0]
    # Sums of equal scores can differ in their last bits.
    differences = np.where(np.abs(differences) < 1e-12, 0.0, differences)
    total = len(differences)
    tail = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    low, high = np.quantile(differences, (0.025, 0.975))
    equal = np.isclose(first, second, rtol=0, atol=1e-9)
    return PairedTest(
        difference=float(np.mean(second) - np.mean(first)),
        low=float(low),
        high=float(high),
        p_value=min(1.0, 2 * (tail + 1) / (total + 1)),
        wins=int(np.count_nonzero((second > first) & ~equal)),
        losses=int(np.count_nonzero((second < first) & ~equal)),
        ties=int(np.count_nonzero(equal)),
    )


def adjust_for_several(p_values: np.ndarray) -> np.ndarray:
    """Returns p-values float[K] adjusted for K tests by the method of Holm (1979)."""
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * np.arange(count, 0, -1))
    found = np.empty(count)
    found[order] = np.minimum(steps, 1.0)
    return found
