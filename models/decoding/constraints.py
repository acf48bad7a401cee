"""Decoding constraints: words that are excluded from a step, given the previous words.

Letters: N captions, T maximum length of a caption, F excluded words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import tensorflow as tf

from models.decoding.options import DecodingOptions
from models.decoding.scores import IMPOSSIBLE
from models.layers import ops

# Fills rows of excluded words; this id is padding, which is never generated.
_NONE = 0


def excluded_words(
    tokens: Callable[[], tf.Tensor], t: tf.Tensor, options: DecodingOptions
) -> tf.Tensor | None:
    """Returns the words that constraints exclude from a step, besides `options.never_generated`.

    Args:
        tokens: returns int32[N, T], the words so far, 0 from step t on. Not called if no constraint
            is set.
        t: int32[], the step.
        options: options of decoding.

    Returns:
        int32[N, F], ids, possibly with duplicates and 0; None if no constraint is set.
    """
    phrases = [phrase for phrase in options.excluded if len(phrase) > 1]
    if not (
        options.min_length
        or options.block_trigrams
        or options.block_repeats
        or options.bad_endings
        or phrases
    ):
        return None
    words = tokens()
    # Maximum number of previous words that a constraint depends on.
    context = max([2, *(len(phrase) - 1 for phrase in phrases)])
    recent = tf.pad(words, [[0, 0], [context, 0]])[:, t : t + context]
    recent = tf.ensure_shape(recent, [None, context])
    return tf.concat(list(_excluded(words, recent, t, phrases, options)), axis=1)


def _excluded(
    words: tf.Tensor,
    recent: tf.Tensor,
    t: tf.Tensor,
    phrases: list[tuple[int, ...]],
    options: DecodingOptions,
) -> Iterator[tf.Tensor]:
    """Yields int32[N, ...] per constraint; `recent` int32[N, ...] are the words before step t."""
    last = recent[:, -1:]
    if options.block_repeats:
        yield last
    if options.min_length:
        yield tf.fill(tf.shape(last), tf.where(t < options.min_length, options.end_id, _NONE))
    if options.bad_endings:
        bad = tf.constant(options.bad_endings, tf.int32)[None]
        is_bad = tf.reduce_any(last == bad, axis=1, keepdims=True)
        yield tf.where(is_bad, options.end_id, _NONE)
        # A truncated caption ends with its last word.
        at_the_end = tf.where(t == tf.shape(words)[1] - 1, bad, _NONE)
        yield tf.repeat(at_the_end, tf.shape(last)[0], axis=0)
    if options.block_trigrams:
        seen = (words[:, :-2] == recent[:, -2:-1]) & (words[:, 1:-1] == last) & (t >= 2)
        yield tf.where(seen, words[:, 2:], _NONE)
    for phrase in phrases:
        begun = recent[:, 1 - len(phrase) :] == tf.constant(phrase[:-1])[None]
        yield tf.where(tf.reduce_all(begun, axis=1, keepdims=True), phrase[-1], _NONE)


def most_likely(
    logits: tf.Tensor, count: int, options: DecodingOptions, excluded: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns log p and ids, [N, count] each, of the most likely words, best first.

    The log softmax is computed for these words only.

    Args:
        logits: float32[N, V].
        count: number of words, at most V.
        options: options of decoding; the words of `never_generated` are excluded.
        excluded: int32[N, F] from `excluded_words`, also excluded; or None.
    """
    never = options.never_generated
    taken = count + len(never) + (0 if excluded is None else excluded.shape[1])
    best, ids = ops.top_log_probs(logits, min(taken, logits.shape[-1]))
    refused = tf.reduce_any(ids[..., None] == tf.constant(never, tf.int32), axis=-1)
    if excluded is not None:
        refused |= tf.reduce_any(ids[:, :, None] == excluded[:, None, :], axis=-1)
    best, places = tf.math.top_k(tf.where(refused, IMPOSSIBLE, best), count)
    return best, tf.gather(ids, places, batch_dims=1)
