"""The paired bootstrap: its means, its p-values, and the adjustment for several tests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from r2m.evaluation.comparison import paired_bootstrap
from r2m.evaluation.comparison.paired_bootstrap import (
    adjust_for_several,
    paired_test,
    resampled_means,
)


def test_all_systems_are_averaged_over_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).random((2, 7))
    scores = np.stack([scores[0], scores[0] + 0.25, scores[1]])
    whole = resampled_means(scores, 50, seed=3)
    np.testing.assert_allclose(whole[:, 1] - whole[:, 0], 0.25)
    # Resamples in small blocks draw the same images as in one block.
    monkeypatch.setattr(paired_bootstrap, "_BLOCK", 30)
    np.testing.assert_allclose(resampled_means(scores, 50, seed=3), whole)
    assert not np.allclose(resampled_means(scores, 50, seed=4), whole)


def test_means_are_those_of_drawn_images() -> None:
    scores = np.array([[0.0, 1.0, 2.0, 4.0]])
    found = resampled_means(scores, 20_000, seed=0)[:, 0]
    assert {*np.unique(found * 4)} <= {*range(17)}
    assert found.mean() == pytest.approx(scores.mean(), abs=0.03)
    assert found.var() == pytest.approx(scores.var() / 4, rel=0.05)


def test_p_values_agree_with_the_normal_distribution() -> None:
    random = np.random.default_rng(1)
    first = random.random(2_000)
    noise = random.normal(size=2_000)
    noise = (noise - noise.mean()) / noise.std()
    for sigmas in (0.5, 2.0):
        second = first + noise + sigmas / math.sqrt(2_000)
        test = paired_test(
            first, second, resampled_means(np.stack([first, second]), 10_000, seed=0)
        )
        assert test.p_value == pytest.approx(math.erfc(sigmas / math.sqrt(2)), abs=0.02)
        error = 1.96 / math.sqrt(2_000)
        assert (test.low, test.high) == pytest.approx(
            (test.difference - error, test.difference + error), abs=0.003
        )


def test_wins_losses_and_equal_systems() -> None:
    first = np.array([0.1, 0.2, 0.3, 0.4])
    second = np.array([0.2, 0.2 + 1e-12, 0.1, 0.5])
    test = paired_test(first, second, resampled_means(np.stack([first, second]), 200, seed=0))
    assert (test.wins, test.losses, test.ties) == (2, 1, 1)
    same = paired_test(first, first, resampled_means(np.stack([first, first]), 200, seed=0))
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    better = paired_test(first, first + 1, resampled_means(np.stack([first, first + 1]), 199, 0))
    assert better.p_value == pytest.approx(2 / 200)  # never 0


def test_the_adjustment_of_holm() -> None:
    # The example of p.adjust(c(0.01, 0.04, 0.03, 0.5), "holm") of R.
    found = adjust_for_several(np.array([0.01, 0.04, 0.03, 0.5]))
    np.testing.assert_allclose(found, [0.04, 0.09, 0.09, 0.5])
    np.testing.assert_allclose(adjust_for_several(np.array([0.2])), [0.2])
