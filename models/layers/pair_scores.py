"""Nonlinear scores of pairs of queries and keys, without a tensor of all products.

The elementwise products of Q queries and L keys of size D are [B, Q, L, D]. They take a quarter of
a GiB for 75 captions of 17 words over 100 regions, and several times as much with gradients. Here,
they are computed for a few images at a time, and recomputed in the backward pass.

Letters: B images, Q queries per image, L keys per image, D size of queries and keys, M hidden
units of a pair.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import tensorflow as tf

from models.layers.dropout import dropout_mask, kept_factor

# Maximum number of elements of the products at a time, unless a single image has more.
_MAX_PRODUCTS = 2**22


class PairWeights(NamedTuple):
    """Weights of the nonlinear map of a pair.

    Attributes:
        kernel: float[D, M].
        bias: float[M].
        score: float[M].
    """

    kernel: tf.Tensor
    bias: tf.Tensor
    score: tf.Tensor


def score_pairs(
    queries: tf.Tensor,
    keys: tf.Tensor,
    shares: tf.Tensor,
    weights: PairWeights,
    *,
    dropout: float = 0.0,
    seed: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores every pair of a query and a key, and averages the hidden units over the keys.

    E = dropout(relu((q * k) kernel + bias)) per pair; its score is E . score.

    Args:
        queries: float[B, Q, D].
        keys: float[B, L, D].
        shares: float[B, L], weights of the keys in the average; they receive no gradient.
        weights: weights in the dtype of the queries.
        dropout: dropout rate of E.
        seed: int32[2], stateless seed; required if the rate is positive.

    Returns:
        Scores float[B, Q, L] and averages of E float[B, Q, M].
    """
    chunks = _Chunks.plan(queries, keys)
    hidden_units = weights.kernel.shape[1]
    indices = tf.range(chunks.count)
    dtype = queries.dtype
    # Parallel iterations would hold several chunks in memory at once.
    one_by_one = functools.partial(tf.map_fn, parallel_iterations=1)

    def hidden(products: tf.Tensor, index: tf.Tensor, weights: PairWeights) -> tf.Tensor:
        found = tf.nn.relu(_matmul(products, weights.kernel) + weights.bias)
        if dropout:
            chunk_seed = tf.random.experimental.stateless_fold_in(seed, index)
            found *= dropout_mask(tf.shape(found), dropout, chunk_seed, dtype)
        return found

    @tf.custom_gradient
    def run(queries: tf.Tensor, keys: tf.Tensor, shares: tf.Tensor, *given: tf.Tensor) -> Any:
        weights = PairWeights(*given)
        parts = tuple(map(chunks.split, (queries, keys, shares)))

        def forward(inputs: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
            index, queries, keys, shares = inputs
            units = hidden(_products(queries, keys), index, weights)
            scores = _matvec(units, weights.score)
            return units, scores, _average(units, shares)

        specs = [tf.TensorSpec([None] * rank, dtype) for rank in (4, 3, 3)]
        all_units, scores, averages = one_by_one(
            forward, (indices, *parts), fn_output_signature=tuple(specs)
        )

        def gradient(for_scores: tf.Tensor, for_averages: tf.Tensor) -> tuple[Any, ...]:
            def backward(inputs: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
                index, queries, keys, shares, for_scores, for_averages = inputs
                # Not an input of map_fn, because inputs are copied as soon as they are available,
                # which is in the forward pass.
                units = tf.gather(all_units, index)
                upstream = _outer(for_scores, weights.score)
                upstream += for_averages[:, :, tf.newaxis] * shares[:, tf.newaxis, :, tf.newaxis]
                # Units that dropout or ReLU set to 0 have a zero gradient.
                upstream = tf.where(units > 0, upstream * kept_factor(dropout), 0.0)
                products = _products(queries, keys)
                for_products = _matmul(upstream, weights.kernel, transpose_b=True)
                return (
                    tf.reduce_sum(for_products * keys[:, tf.newaxis], 2),
                    tf.reduce_sum(for_products * queries[:, :, tf.newaxis], 1),
                    tf.matmul(_rows(products), _rows(upstream), transpose_a=True),
                    tf.reduce_sum(_rows(upstream), 0),
                    tf.linalg.matvec(_rows(units), tf.reshape(for_scores, [-1]), transpose_a=True),
                )

            specs = [tf.TensorSpec([None] * rank, dtype) for rank in (3, 3, 2, 1, 1)]
            upstream = tuple(map(chunks.split, (for_scores, for_averages)))
            for_queries, for_keys, *for_weights = one_by_one(
                backward, (indices, *parts, *upstream), fn_output_signature=tuple(specs)
            )
            summed = [tf.reduce_sum(x, 0) for x in for_weights]
            return (
                tf.ensure_shape(chunks.join(for_queries), queries.shape),
                tf.ensure_shape(chunks.join(for_keys), keys.shape),
                None,
                *summed,
            )

        scores = tf.ensure_shape(chunks.join(scores), [*queries.shape[:2], keys.shape[1]])
        averages = tf.ensure_shape(chunks.join(averages), [*queries.shape[:2], hidden_units])
        return (scores, averages), gradient

    scores, averages = run(queries, keys, tf.stop_gradient(shares), *weights)
    return scores, averages


class _Chunks(NamedTuple):
    """Division of B images into `count` chunks of `size` images, with padding at the end."""

    images: tf.Tensor
    count: tf.Tensor
    size: tf.Tensor

    @classmethod
    def plan(cls, queries: tf.Tensor, keys: tf.Tensor) -> _Chunks:
        images = tf.shape(queries)[0]
        products = tf.shape(queries)[1] * tf.shape(keys)[1] * tf.shape(keys)[2]
        max_images = tf.maximum(_MAX_PRODUCTS // tf.maximum(products, 1), 1)
        count = tf.maximum(-(-images // max_images), 1)
        return cls(images, count, -(-images // count))

    def split(self, x: tf.Tensor) -> tf.Tensor:
        """Reshapes [B, ...] to [count, size, ...], padded with zeros."""
        missing = self.count * self.size - self.images
        padding = [[0, missing], *[[0, 0]] * (x.shape.rank - 1)]
        shape = tf.concat([[self.count, self.size], tf.shape(x)[1:]], axis=0)
        return tf.ensure_shape(tf.reshape(tf.pad(x, padding), shape), [None, None, *x.shape[1:]])

    def join(self, x: tf.Tensor) -> tf.Tensor:
        """Reshapes [count, size, ...] to [B, ...], without the padding."""
        return tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], axis=0))[: self.images]


def _products(queries: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
    """Multiplies elementwise: float[C, Q, D] and float[C, L, D] -> float[C, Q, L, D]."""
    return tf.expand_dims(queries, 2) * tf.expand_dims(keys, 1)


def _average(units: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Averages float[C, Q, L, M] with weights float[C, L] -> float[C, Q, M]."""
    chunk, queries, keys, _ = tf.unstack(tf.shape(units))
    weights = tf.broadcast_to(shares[:, tf.newaxis, tf.newaxis], [chunk, queries, 1, keys])
    return tf.squeeze(tf.matmul(weights, units), axis=2)


def _matvec(x: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """Multiplies float[..., M] by float[M] -> float[...]."""
    # Reshaped first: if the vector is broadcast over several axes, `tf.linalg.matvec` of
    # TensorFlow 2.21 writes beyond its output on CPUs.
    return tf.reshape(tf.linalg.matvec(_rows(x), vector), tf.shape(x)[:-1])


def _outer(x: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    return x[..., tf.newaxis] * vector


def _rows(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, x.shape[-1] or tf.shape(x)[-1]])


def _matmul(x: tf.Tensor, kernel: tf.Tensor, transpose_b: bool = False) -> tf.Tensor:
    """Multiplies float[..., I] by float[I, O], or by the transpose of float[O, I]."""
    outputs = tf.matmul(_rows(x), kernel, transpose_b=transpose_b)
    return tf.reshape(outputs, tf.concat([tf.shape(x)[:-1], [tf.shape(outputs)[-1]]], axis=0))
