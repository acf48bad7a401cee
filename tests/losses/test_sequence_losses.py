"""Losses of generated captions against their formulas in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from losses import sequence_losses
from losses.reward_losses import STRUCTURED_LOSSES
from losses.sequence_losses import structured_losses

LOG_P = np.array([[-3.0, -6.0, -2.0], [-4.0, -1.0, -8.0]])
LENGTHS = np.array([[3, 4, 2], [4, 1, 5]])
REWARDS = np.array([[0.5, 2.0, 1.0], [1.5, 0.0, 1.0]])


def written(name: str, log_p: np.ndarray, lengths: np.ndarray, rewards: np.ndarray) -> float:
    """Computes the loss of one image by the formula, term by term."""

    def softmax(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / np.exp(x).sum()

    scores, best, costs = log_p / lengths, int(rewards.argmax()), -rewards
    scaled = (costs - costs.min()) / (costs.max() - costs.min())
    margins = [
        max(0, c - costs[best] - scores[best] + s) for c, s in zip(costs, scores, strict=True)
    ]
    found: float = {
        "seqnll": -np.log(softmax(scores)[best]),
        "risk": (softmax(log_p) * scaled).sum(),
        "max_margin": max(margins) / 2,
        "multi_margin": np.mean(margins),
        "softmax_margin": -np.log(softmax(scores + scaled)[best]),
        "real_softmax_margin": -np.log(softmax(scores + costs)[best]),
    }[name]
    return found


@pytest.mark.parametrize("name", STRUCTURED_LOSSES)
def test_structured_losses(name: str) -> None:
    log_p, rewards = (tf.constant(x, tf.float32) for x in (LOG_P, REWARDS))
    lengths = tf.constant(LENGTHS)
    with tf.GradientTape() as tape:
        tape.watch((log_p, rewards))
        found = structured_losses(name, log_p, lengths, rewards)
    expected = [written(name, *rows) for rows in zip(LOG_P, LENGTHS, REWARDS, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for_log_p, for_rewards = tape.gradient(found, (log_p, rewards))
    assert for_rewards is None and np.isfinite(for_log_p).all()
    # The best caption becomes more likely.
    assert (np.take_along_axis(for_log_p.numpy(), REWARDS.argmax(1)[:, None], 1) < 0).all()


@pytest.mark.parametrize("name", STRUCTURED_LOSSES)
def test_equal_rewards_and_empty_captions_are_finite(name: str) -> None:
    log_p, zero = tf.constant([[-1.0, 0.0, -2.0]]), tf.zeros([1, 3])
    with tf.GradientTape() as tape:
        tape.watch(log_p)
        found = structured_losses(name, log_p, tf.constant([[1, 0, 2]]), zero)
    assert np.isfinite(found).all() and np.isfinite(tape.gradient(found, log_p)).all()


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown loss 'hinge'; known: seqnll, risk"):
        structured_losses("hinge", tf.zeros([1, 2]), tf.ones([1, 2], tf.int32), tf.zeros([1, 2]))


def test_best_of_n() -> None:
    found = sequence_losses.best_of_n(tf.constant([[1.0, 3.0, 3.0], [0.0, 0.0, -1.0]]))
    np.testing.assert_array_equal(found, [[0, 1, 1], [1, 1, 0]])
