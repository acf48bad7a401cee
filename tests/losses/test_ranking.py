"""Ranking losses: against loops over all pairs and published values, and split over replicas."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from losses.ranking import hinge_ranking, softmax_ranking
from losses.similarities import similarities

# Images and sentences of the published example.
U = np.array([[1.0, 0, 0], [0, 1, 0], [0.6, 0.8, 0]], np.float32)
R = np.array([[0.8, 0.6, 0], [0, 0.6, 0.8], [0, 1.0, 0]], np.float32)


def _expected(scores, margin, kind, owners):
    """Computes the hinges of both directions in loops."""
    total = 0.0
    for i in range(len(scores)):
        others = [j for j in range(len(scores)) if owners[j] != owners[i]]
        for found in ([scores[i, j] for j in others], [scores[j, i] for j in others]):
            hinges = [max(0.0, margin - scores[i, i] + s) for s in found]
            total += (max(hinges) if kind == "max" else sum(hinges)) if hinges else 0.0
    return total


def _order(images, sentences):
    return np.array([[-np.linalg.norm(np.maximum(0, s - u)) for s in sentences] for u in images])


@pytest.mark.parametrize(("kind", "expected"), [("sum", 2.0), ("max", 1.8)])
def test_golden_values(kind, expected):
    assert float(hinge_ranking(U, R, margin=0.2, hinges=kind).total) == pytest.approx(
        expected, abs=1e-6
    )


def test_golden_values_of_the_order_similarity():
    found = similarities(tf.constant(U), tf.constant(R), "order")
    # Rows are images; the published example has sentences first.
    expected = np.array([[-0.6, -1, -1], [-0.8, -0.8, 0], [-0.2, -0.8, -0.2]])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found, _order(U, R), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    owners=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    margin=st.sampled_from([0.05, 0.2, 1.0]),
    kind=st.sampled_from(["sum", "max"]),
    similarity=st.sampled_from(["cosine", "order"]),
)
def test_hinges_of_all_negatives_or_of_the_hardest(seed, owners, margin, kind, similarity):
    random = np.random.RandomState(seed)
    u, r = random.randn(2, len(owners), 3).astype("f")
    scores = u.astype(np.float64) @ r.T if similarity == "cosine" else _order(u, r)
    found = hinge_ranking(
        u, r, margin=margin, hinges=kind, similarity=similarity, owners=tf.constant(owners)
    )
    expected = _expected(scores, margin, kind, owners)
    np.testing.assert_allclose(found.total, expected, rtol=1e-4, atol=1e-5)
    chosen = hinge_ranking(
        u, r, margin=margin, hinges=tf.constant(kind == "max"), similarity=similarity,
        owners=tf.constant(owners),
    )  # fmt: skip
    np.testing.assert_allclose(chosen.total, expected, rtol=1e-4, atol=1e-5)
    negative = np.not_equal.outer(owners, owners)
    counted = negative.sum() if kind == "sum" else negative.any(axis=1).sum()
    assert float(found.terms) == 2 * counted
    np.testing.assert_allclose(found.positives, np.trace(scores), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.negatives, scores[negative].sum(), rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    owners=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    temperature=st.sampled_from([0.05, 1.0]),
    similarity=st.sampled_from(["cosine", "order"]),
)
def test_softmax_of_a_pair_and_its_negatives(seed, owners, temperature, similarity):
    random = np.random.RandomState(seed)
    u, r = random.randn(2, len(owners), 3).astype("f")
    scores = u.astype(np.float64) @ r.T if similarity == "cosine" else _order(u, r)
    own = tf.constant(owners)
    found = softmax_ranking(u, r, temperature=temperature, similarity=similarity, owners=own)
    expected = 0.0
    for i, owner in enumerate(owners):
        others = [j for j, other in enumerate(owners) if other != owner]
        for row in (scores[i], scores[:, i]):
            logits = np.array([row[i], *row[others]]) / temperature
            expected += np.log(np.exp(logits - logits[0]).sum())
    np.testing.assert_allclose(found.total, expected, rtol=1e-4, atol=1e-5)
    assert float(found.terms) == 2 * len(owners)


@pytest.mark.parametrize(("kind", "expected"), [("sum", 6502.4), ("max", 51.2)])
def test_vectors_that_are_all_equal_have_the_loss_of_a_collapse(kind, expected):
    same = tf.ones([128, 1])
    found = hinge_ranking(same, same, margin=0.2, hinges=kind)
    assert float(found.total) == pytest.approx(expected, rel=1e-5)
    assert float(found.total / found.terms) == pytest.approx(0.2, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    parts=st.lists(st.integers(0, 3), min_size=2, max_size=3),
    kind=st.sampled_from(["sum", "max", "softmax"]),
    similarity=st.sampled_from(["cosine", "order"]),
)
def test_shares_of_replicas_add_up(seed, parts, kind, similarity):
    random = np.random.RandomState(seed)
    count = sum(parts)
    u, r = (tf.constant(x) for x in random.randn(2, count, 3).astype("f"))
    owners = tf.constant(random.randint(0, 4, count))
    ranking = partial(hinge_ranking, margin=0.2, hinges=kind)
    if kind == "softmax":
        ranking = partial(softmax_ranking, temperature=0.1)
    ranking = partial(ranking, similarity=similarity, owners=owners)
    whole = ranking(u, r)
    starts = np.cumsum([0, *parts[:-1]])
    shares = [
        ranking(u, r, first_row=tf.constant(start, tf.int32), rows=rows)
        for start, rows in zip(starts, parts, strict=True)
    ]
    for name, value in whole._asdict().items():
        total = sum(float(getattr(share, name)) for share in shares)
        np.testing.assert_allclose(total, value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("in_graph", [False, True])
def test_the_gradient_of_the_order_similarity_is_that_of_the_formula_and_finite(in_graph):
    random = np.random.RandomState(0)
    u, r = (tf.constant(np.abs(x)) for x in random.randn(2, 4, 5).astype("f"))
    r = tf.concat([r, u[:1] * 0.5], axis=0)  # satisfies the order with the first image
    upstream = tf.constant(random.randn(4, 5).astype("f"))

    def differentiate():
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([u, r])
            found = tf.reduce_sum(similarities(u, r, "order") * upstream)
            squares = tf.reduce_sum(tf.nn.relu(r[None] - u[:, None]) ** 2, -1)
            ordered = squares == 0
            norms = tf.where(ordered, 0.0, tf.sqrt(tf.where(ordered, 1.0, squares)))
            expected = -tf.reduce_sum(norms * upstream)
        return tape.gradient(found, [u, r]), tape.gradient(expected, [u, r])

    ours, derived = (tf.function(differentiate) if in_graph else differentiate)()
    for a, b in zip(ours, derived, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_pair_alone_has_no_loss_and_a_finite_gradient():
    u = tf.Variable([[0.6, 0.8]])
    rankings = [partial(hinge_ranking, margin=0.2, hinges=kind) for kind in ("sum", "max")]
    for ranking, terms in zip(
        [*rankings, partial(softmax_ranking, temperature=0.1)], (0.0, 0.0, 2.0), strict=True
    ):
        with tf.GradientTape() as tape:
            found = ranking(u, u * 2.0)
        assert float(found.total) == 0.0 and float(found.pairs) == 1.0
        assert float(found.terms) == terms
        assert np.isfinite(tape.gradient(found.total, u).numpy()).all()
