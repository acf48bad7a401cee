"""Caption losses against their formulas in NumPy (spec self_critical_and_spatial 3.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from losses import text
from losses.caption_losses import caption_loss, kept_captions, smoothed_losses

V, H, T = 7, 4, 5


def data(seed: int, captions: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "hidden": rng.normal(size=(captions, T, H)).astype(np.float32),
        "weights": rng.normal(size=(V, H)).astype(np.float32),
        "bias": rng.normal(size=V).astype(np.float32),
        "targets": rng.integers(0, V, (captions, T)).astype(np.int32),
        "lengths": rng.integers(1, T + 1, captions).astype(np.int32),
    }


def written(d: dict[str, Any], smoothing: float) -> list[np.ndarray]:
    """Computes the losses of the real words of each caption by the formula."""
    logits = d["hidden"] @ d["weights"].T + d["bias"]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    target = np.full(log_p.shape, smoothing / (V - 1))
    np.put_along_axis(target, d["targets"][..., None], 1 - smoothing, -1)
    safe = np.where(target > 0, target, 1.0)
    losses = (target * (np.log(safe) - log_p)).sum(-1)
    return [row[:n] for row, n in zip(losses, d["lengths"], strict=True)]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.sampled_from([None, 0.0, 0.25, 0.5]),
)
def test_as_written(seed: int, captions: int, smoothing: float, drop_worst: float | None) -> None:
    d = data(seed, captions)
    part = drop_worst and tf.constant(drop_worst)
    total, words = caption_loss(*map(tf.constant, d.values()), smoothing=smoothing, drop_worst=part)
    rows = sorted(written(d, smoothing), key=np.mean)
    kept = rows[: round((1 - (drop_worst or 0)) * captions)]
    np.testing.assert_allclose(total, sum(row.sum() for row in kept), rtol=1e-4, atol=1e-4)
    assert words == sum(map(len, kept))
    assert kept_captions(tf.constant(captions), drop_worst or 0.0) == len(kept)


def test_without_options_it_is_the_cross_entropy() -> None:
    d = [tf.constant(x) for x in data(0, 4).values()]
    np.testing.assert_allclose(caption_loss(*d), text.cross_entropy(*d), rtol=1e-6)


def test_smoothed_loss_is_nothing_at_its_target_and_has_the_gradient_p_minus_t() -> None:
    words, eps = tf.constant([2, 5]), 0.2
    target = np.full((2, V), eps / (V - 1), np.float32)
    target[[0, 1], [2, 5]] = 1 - eps
    weights, bias = tf.eye(V), tf.zeros(V)
    perfect = smoothed_losses(tf.math.log(target), weights, bias, words, eps)
    np.testing.assert_allclose(perfect, [0, 0], atol=1e-6)
    logits = tf.constant(np.random.default_rng(1).normal(size=(2, V)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(smoothed_losses(logits, weights, bias, words, eps))
    np.testing.assert_allclose(
        tape.gradient(loss, logits), tf.nn.softmax(logits) - target, atol=1e-6
    )


def test_no_captions_are_a_loss_of_nothing() -> None:
    d = {name: x[:0] if x.shape[0] == 3 else x for name, x in data(0, 3).items()}
    for options in ({}, {"smoothing": 0.1}, {"drop_worst": 0.5}):
        total, count = caption_loss(*map(tf.constant, d.values()), **options)
        assert (float(total), float(count)) == (0.0, 0.0)


def test_only_kept_captions_learn() -> None:
    d = {name: tf.constant(x) for name, x in data(3, 4).items()}
    with tf.GradientTape() as tape:
        tape.watch(d["hidden"])
        loss, _ = caption_loss(*d.values(), drop_worst=0.5)
    moved = np.abs(tape.gradient(loss, d["hidden"])).max((1, 2)) > 0
    means = [row.mean() for row in written({k: v.numpy() for k, v in d.items()}, 0.0)]
    assert moved.tolist() == [rank < 2 for rank in np.argsort(np.argsort(means))]
