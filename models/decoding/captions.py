"""Captions as returned by decoding, and operations on sets of finished hypotheses.

Letters: B images, R captions per image, T maximum length of a caption, X hypotheses.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from models.decoding.options import DecodingOptions
from models.decoding.scores import IMPOSSIBLE, possible, score


class Captions(NamedTuple):
    """Captions found for images, best first.

    Attributes:
        tokens: int32[B, R, T], 0 after the end marker.
        lengths: int32[B, R], end marker included; 0 for an empty place.
        scores: float32[B, R], log p divided by the length penalty; very low for an empty place.
        log_probabilities: float32[B, R], log p of the captioner; very low for an empty place.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor
    log_probabilities: tf.Tensor


def no_captions(images: tf.Tensor, returned: int, limit: int) -> Captions:
    """Returns `returned` empty places per image, for captions of at most `limit` words."""
    nothing = tf.fill([images, returned], IMPOSSIBLE)
    return Captions(
        tf.zeros([images, returned, limit], tf.int32),
        tf.zeros([images, returned], tf.int32),
        nothing,
        nothing,
    )


def hypotheses(
    tokens: tf.Tensor, length: tf.Tensor, scores: tf.Tensor, log_probs: tf.Tensor
) -> Captions:
    """Converts hypotheses of equal length to captions; impossible ones get length 0.

    Args:
        tokens: int32[B, X, T].
        length: int32[].
        scores: float32[B, X].
        log_probs: float32[B, X].
    """
    real = possible(scores)
    return Captions(
        tf.where(real[:, :, None], tokens, 0), tf.where(real, length, 0), scores, log_probs
    )


def keep_best(kept: Captions, new: Captions) -> Captions:
    """Returns the R best of captions [B, R] and [B, X]; ties go to `kept`."""
    scores, order = tf.math.top_k(tf.concat([kept.scores, new.scores], 1), kept.scores.shape[1])
    tokens, lengths, log_probs = (
        tf.gather(tf.concat(pair, 1), order, batch_dims=1)
        for pair in (
            (kept.tokens, new.tokens),
            (kept.lengths, new.lengths),
            (kept.log_probabilities, new.log_probabilities),
        )
    )
    return Captions(tokens, lengths, scores, log_probs)


def fill_empty(finished: Captions, living: Captions) -> Captions:
    """Fills the empty places of captions [B, R] with captions [B, X], best first; X >= R."""
    returned = tf.shape(finished.scores)[1]
    taken = tf.reduce_sum(tf.cast(finished.lengths > 0, tf.int32), 1, keepdims=True)
    place = tf.range(returned)[None]
    source = tf.where(place < taken, place, returned + place - taken)
    pairs = zip(finished, living, strict=True)
    return Captions(*(tf.gather(tf.concat(pair, 1), source, batch_dims=1) for pair in pairs))


def best_first(captions: Captions, returned: int, options: DecodingOptions) -> Captions:
    """Returns the `returned` best of captions [B, X], scored by log p; truncated ones come last."""
    scores = score(captions.log_probabilities, captions.lengths, options)
    order = tf.argsort(scores, direction="DESCENDING", stable=True)
    cut = tf.reduce_all(captions.tokens != options.end_id, axis=-1)
    cut = tf.cast(tf.gather(cut, order, batch_dims=1), tf.int32)
    order = tf.gather(order, tf.argsort(cut, stable=True), batch_dims=1)[:, :returned]
    return Captions(*(tf.gather(x, order, batch_dims=1) for x in captions._replace(scores=scores)))


def append(tokens: tf.Tensor, ids: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Writes ids int32[...] at step t of tokens int32[..., T], which are 0 from step t on."""
    return tokens + ids[..., None] * tf.one_hot(t, tf.shape(tokens)[-1], dtype=tf.int32)
