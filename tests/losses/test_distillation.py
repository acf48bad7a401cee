"""Distillation: against a NumPy transcription of the formula, and split over replicas."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from losses.distillation import distilled_ranking
from losses.ranking import hinge_ranking, softmax_ranking

SIZE, TEACHER = 4, 3


def _vectors(seed, count):
    return np.random.RandomState(seed).randn(2, count, SIZE + TEACHER).astype("f")


def _cross_entropy(own, teacher):
    """Returns the cross entropy of the rows' softmax distributions, summed over rows."""
    shares = np.exp(teacher - teacher.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    shifted = own - own.max(1, keepdims=True)
    return -(shares * (shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))).sum()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    count=st.integers(1, 6),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    temperature=st.sampled_from([0.1, 1.0]),
)
def test_the_formula(seed, count, weight, temperature):
    images, sentences = _vectors(seed, count)
    base = partial(hinge_ranking, margin=0.2)
    found = distilled_ranking(
        images, sentences, loss=base, size=SIZE, weight=weight, temperature=temperature
    )
    alone = base(images[:, :SIZE], sentences[:, :SIZE])
    own = images[:, :SIZE].astype(np.float64) @ sentences[:, :SIZE].T / temperature
    teacher = images[:, SIZE:].astype(np.float64) @ sentences[:, SIZE:].T / temperature
    learned = _cross_entropy(own, teacher) + _cross_entropy(own.T, teacher.T)
    expected = (1 - weight) * float(alone.total) + weight * learned
    np.testing.assert_allclose(found.total, expected, rtol=1e-4, atol=1e-5)
    assert found._replace(total=alone.total) == alone


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), parts=st.lists(st.integers(0, 3), min_size=2, max_size=3))
def test_shares_of_replicas_add_up(seed, parts):
    images, sentences = map(tf.constant, _vectors(seed, sum(parts)))
    owners = tf.constant(np.random.RandomState(seed).randint(0, 3, sum(parts)))
    ranking = partial(
        distilled_ranking, images, sentences, loss=partial(softmax_ranking, temperature=0.1),
        size=SIZE, weight=0.4, temperature=0.5, owners=owners,
    )  # fmt: skip
    starts = np.cumsum([0, *parts[:-1]])
    shares = [
        float(ranking(first_row=tf.constant(start, tf.int32), rows=rows).total)
        for start, rows in zip(starts, parts, strict=True)
    ]
    np.testing.assert_allclose(sum(shares), ranking().total, rtol=1e-4, atol=1e-5)


def test_a_student_with_the_teachers_similarities_has_no_gradient():
    images, sentences = _vectors(0, 5)
    own = tf.Variable(images[:, :SIZE])
    with tf.GradientTape() as tape:
        found = distilled_ranking(
            tf.concat([own, images[:, :SIZE]], 1),
            tf.concat([sentences[:, :SIZE], sentences[:, :SIZE]], 1),
            loss=partial(hinge_ranking, margin=0.2),
            size=SIZE,
            weight=1.0,
            temperature=0.5,
        )
    np.testing.assert_allclose(tape.gradient(found.total, own), 0, atol=1e-5)
    assert float(found.total) == pytest.approx(
        _entropies(images[:, :SIZE] @ sentences[:, :SIZE].T / 0.5), rel=1e-4
    )


def _entropies(logits):
    return _cross_entropy(logits, logits) + _cross_entropy(logits.T, logits.T)
