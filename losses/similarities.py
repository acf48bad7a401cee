"""Similarities of images and sentences in a common vector space."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

Similarity = Literal["cosine", "order"]
SIMILARITIES: tuple[Similarity, ...] = ("cosine", "order")


def similarities(images: tf.Tensor, sentences: tf.Tensor, kind: Similarity) -> tf.Tensor:
    """Returns the similarity of every image with every sentence.

    Args:
        images: float32[N, D].
        sentences: float32[M, D].
        kind: `cosine`, the dot product (the vectors are normalized before), or `order`.

    Returns:
        float32[N, M].
    """
    if kind == "cosine":
        return tf.matmul(images, sentences, transpose_b=True)
    return order_similarities(images, sentences)


@tf.custom_gradient
def order_similarities(images: tf.Tensor, sentences: tf.Tensor) -> Any:
    """Returns `-||max(0, sentence - image)||`, which is 0 if the pair is in order.

    The gradient of such a pair is set to 0 (that of the root is not finite there). One image is
    compared at a time, because all differences together need N * M * D numbers.

    Args:
        images: float32[N, D].
        sentences: float32[M, D].

    Returns:
        float32[N, M]. Source: Vendrov et al. 2016, equation 2, as a norm (Faghri et al. 2018).
    """

    def row(image: tf.Tensor) -> tf.Tensor:
        return -tf.norm(tf.nn.relu(sentences - image), axis=-1)

    # A map over zero images fails, so one additional image is compared and dropped.
    some = tf.pad(images, [[0, 1], [0, 0]])
    scores = tf.map_fn(row, some, fn_output_signature=tf.TensorSpec([None], tf.float32))[:-1]

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # d score / d image = max(0, sentence - image) / norm, and minus that for the sentence.
        weights = tf.math.divide_no_nan(upstream, -scores)

        def body(i: tf.Tensor, of_images: tf.TensorArray, of_sentences: tf.Tensor) -> Any:
            shares = tf.nn.relu(sentences - images[i]) * weights[i][:, tf.newaxis]
            written = of_images.write(i, tf.reduce_sum(shares, axis=0))
            return i + 1, written, of_sentences - shares

        count = tf.shape(images)[0]
        start = (
            tf.constant(0),
            tf.TensorArray(tf.float32, count, element_shape=images.shape[1:]),
            tf.zeros_like(sentences),
        )
        _, of_images, of_sentences = tf.while_loop(lambda i, *_: i < count, body, start)
        return tf.reshape(of_images.stack(), tf.shape(images)), of_sentences

    return scores, gradient
