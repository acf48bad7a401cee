"""Correlations against worked examples."""

import math

import numpy as np
import pytest

from r2m.evaluation.correlation import correlate


def test_worked_example():
    # Ranks 1 2.5 2.5 4 and 1 2 3 4.
    found = correlate(np.array([1.0, 2, 2, 10]), np.array([0.1, 0.2, 0.3, 0.4]))
    assert found.spearman == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert found.pearson == pytest.approx(np.corrcoef([1, 2, 2, 10], [1, 2, 3, 4])[0, 1])
    assert found.captions == 4


def test_missing_and_constant_scores():
    found = correlate(np.array([1.0, np.nan, 3, 2]), np.array([1.0, 5, 3, 2]))
    assert found == (pytest.approx(1), pytest.approx(1), 3)
    assert math.isnan(correlate(np.ones(3), np.arange(3.0)).pearson)
    assert math.isnan(correlate(np.ones(0), np.ones(0)).spearman)
