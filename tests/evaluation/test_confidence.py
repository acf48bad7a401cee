"""Confidence: calibrated on known probabilities, monotone, rejected if it cannot be fitted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2m.evaluation.confidence import (
    BINS,
    Calibration,
    NoCalibrationError,
    fit_confidence,
    measure_reliability,
)
from r2m.evaluation.report_sections import confidence_section

HUMAN = np.array([0.4, 0.6, 0.9])  # median 0.6


def _drawn(count: int, intercept: float, slope: float, seed: int) -> tuple[np.ndarray, ...]:
    """Draws means, scores above or below the median, and the true probability of each event."""
    random = np.random.default_rng(seed)
    means = random.normal(-1.2, 0.4, count)
    truth = 1 / (1 + np.exp(-(intercept + slope * means)))
    return means, np.where(random.random(count) < truth, 0.7, 0.5), truth


def test_the_true_probabilities_are_found() -> None:
    means, scores, truth = _drawn(20_000, 3.0, 2.0, seed=1)
    found = fit_confidence(means, scores, HUMAN)
    assert found.calibration.threshold == 0.6 and found.calibration.images == 20_000
    assert found.calibration.intercept == pytest.approx(3, abs=0.2)
    assert found.calibration.slope == pytest.approx(2, abs=0.15)
    assert np.abs(found.confidences - truth).max() < 0.03
    reliability = found.reliability
    assert sum(b.count for b in reliability.bins) == 20_000 and len(reliability.bins) == BINS
    assert reliability.calibration_error < 0.015 < 0.02 < reliability.base_brier - reliability.brier
    assert all(abs(b.predicted - b.observed) < 0.04 for b in reliability.bins)


def test_confidences_of_captions_are_not_fitted_on_their_own_events() -> None:
    """Inverting the event of an image does not change its own confidence."""
    means, scores, _ = _drawn(200, 2.0, 1.5, seed=2)
    before = fit_confidence(means, scores, HUMAN)
    scores[17] = 1.2 - scores[17]
    after = fit_confidence(means, scores, HUMAN)
    assert after.confidences[17] == before.confidences[17]
    assert (after.confidences != before.confidences).any()
    assert after.calibration != before.calibration


@given(
    means=st.lists(st.floats(-50, 0), min_size=60, max_size=120),
    seed=st.integers(0, 2**16),
    share=st.floats(0.2, 0.8),
)
@settings(max_examples=60, deadline=None)
def test_confidences_rise_with_the_likelihood(means: list[float], seed: int, share: float) -> None:
    """Holds for any events; confidences are always probabilities, never NaN."""
    events = np.random.default_rng(seed).permutation(len(means)) < share * len(means)
    found = fit_confidence(np.array(means), np.where(events, 1.0, 0.0), HUMAN)
    rising = found.calibration.confidences(np.linspace(-1000, 0, 300))
    assert (np.diff(rising) >= 0).all() and ((rising >= 0) & (rising <= 1)).all()
    assert ((found.confidences > 0) & (found.confidences < 1)).all()
    assert 0 <= found.reliability.calibration_error <= 1
    assert found.calibration(-2.0, 4) == pytest.approx(found.calibration.confidences([-0.5])[0])


def test_where_likelier_captions_are_worse_the_base_rate_is_left() -> None:
    means, scores, _ = _drawn(500, -3.0, -2.0, seed=3)
    found = fit_confidence(means, scores, HUMAN).calibration
    assert found.slope == 0 and found(-9.0, 3) == pytest.approx(found.base_rate, abs=0.01)


def test_events_that_the_likelihood_tells_apart_keep_the_slope_finite() -> None:
    means = np.linspace(-3, 0, 100)
    found = fit_confidence(means, np.where(means > -1.5, 1.0, 0.0), HUMAN)
    assert np.isfinite(found.calibration.slope) and found.reliability.brier < 0.05


@pytest.mark.parametrize(
    ("count", "scores", "human", "message"),
    [
        (49, 0.7, HUMAN, "49 images with references, at least 50 needed"),
        (80, 0.7, HUMAN, "80 of 80 captions are as good as a typical human one; calibration req"),
        (80, 0.1, HUMAN, "0 of 80 captions are as good"),
        (80, 0.7, HUMAN[:0], "no image has two reference captions"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    count: int, scores: float, human: np.ndarray, message: str
) -> None:
    with pytest.raises(NoCalibrationError, match=message):
        fit_confidence(np.linspace(-2, -1, count), np.full(count, scores), human)


def test_reliability_by_hand() -> None:
    found = measure_reliability(np.array([0.8, 0.2, 0.2, 0.8]), np.array([1, 0, 1, 1]))
    (only,) = found.bins  # too few for two
    assert (only.predicted, only.observed, only.count) == (0.5, 0.75, 4)
    assert found.brier == pytest.approx((0.04 + 0.04 + 0.64 + 0.04) / 4)
    assert found.base_brier == 0.75 * 0.25 and found.calibration_error == 0.25


def test_the_table_is_shown_with_the_base_rate() -> None:
    means, scores, _ = _drawn(300, 2.0, 1.5, seed=4)
    found = fit_confidence(means, scores, HUMAN)
    section = confidence_section(found.calibration, found.reliability, 0.6, "other images")
    text, base = "\n".join(section.lines), 100 * found.calibration.base_rate
    assert "at least 60.0, the median" in text and f"{base:.1f} % of the captions are" in text
    assert text.count(" % | ") == 2 * len(found.reliability.bins)
    restored = json.loads(json.dumps(section.content))
    assert Calibration(**restored["calibration"]) == found.calibration
