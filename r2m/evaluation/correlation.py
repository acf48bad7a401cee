"""Correlations of two scores of the same captions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Correlation(NamedTuple):
    """Agreement of two scores; NaN if one of them is constant.

    Attributes:
        pearson: linear correlation.
        spearman: linear correlation of their ranks, equal values sharing a rank.
        captions: number of captions with both scores.
    """

    pearson: float
    spearman: float
    captions: int


def correlate(first: np.ndarray, second: np.ndarray) -> Correlation:
    """Correlates two scores, float[N] each; pairs with a NaN are left out."""
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both], second[both]
    return Correlation(
        _pearson(first, second), _pearson(_ranks(first), _ranks(second)), int(both.sum())
    )


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns the rank of each value; equal values get the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[places]
