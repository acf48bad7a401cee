"""Sampling of captions, word by word.

Letters: B images, n captions per image, N = B * n, T maximum length of a caption, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from models.captioners.base import Captioner
from models.decoding.captions import Captions, append, best_first
from models.decoding.constraints import excluded_words
from models.decoding.options import DecodingOptions
from models.decoding.scores import IMPOSSIBLE, possible
from models.decoding.steps import StepFunction
from models.layers import image_rows, ops, tracing
from models.layers.prepared_weights import prepare_weights

# (step t, logits float32[N, V], words so far int32[N, T]) -> the next words int32[N], 0 if no word
# is possible, and their log p float32[N].
_ChooseWords = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
# Number of most likely words that nearly always include those of `top_p`.
_SHORTLIST = 128
# This algorithm draws the same numbers from a seed on every device.
_ALGORITHM = "philox"


def draw_words(logits: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Draws a word per row by inverting the cumulative distribution.

    Args:
        logits: float32[N, V].
        draws: float32[N] in 0..1, uniform.

    Returns:
        int32[N].
    """
    sums = tf.cumsum(tf.nn.softmax(logits), axis=-1)
    # Compared with the total, which may differ from 1 by rounding.
    below = sums <= (draws * sums[:, -1])[:, None]
    return tf.reduce_sum(tf.cast(below, tf.int32), axis=-1)


def sample_captions(
    model: Captioner,
    memory: Any,
    draws: tf.Tensor,
    *,
    suppression: tf.Tensor,
    start_id: int,
    end_id: int,
    greedy_last: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws captions at temperature 1, without gradient.

    Args:
        model: a captioner.
        memory: from its `encode`, of B images.
        draws: float32[N, T] in 0..1, uniform: N / B consecutive captions per image, of at most T
            words.
        suppression: float32[V] from `ops.suppression`, added to the logits so that some words are
            never drawn.
        start_id: id of the start marker, the first input.
        end_id: id of the end marker.
        greedy_last: whether the last caption of each image is the result of greedy search in the
            same loop: its draws are ignored.

    Returns:
        Tokens int32[N, T], 0 after the end marker, and lengths int32[N], end marker included. A
        caption truncated at T words has no end marker.
    """
    count, limit = tf.unstack(tf.shape(draws))
    each = tf.maximum(image_rows.captions_per_image(memory, count), 1)

    def step(words: tf.Tensor, state: Any, memory: Any) -> tuple[tf.Tensor, Any]:
        hidden, state = model.step(words, state, memory)
        return model.logits(hidden) + suppression, state

    def choose(t: tf.Tensor, logits: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        words = draw_words(logits, draws[:, t])
        if greedy_last:
            last = tf.reshape(logits, [-1, each, logits.shape[-1]])[:, -1]
            drawn = tf.reshape(words, [-1, each])[:, :-1]
            words = tf.reshape(tf.concat([drawn, ops.top_k(last, 1)[1]], axis=1), [-1])
        return words, tf.constant(0.0)

    state = image_rows.repeat(model.initial_state(memory, limit), count)
    memory = model.expand_memory(memory, count)
    with prepare_weights(step, tf.fill([count], start_id), state, memory):
        tokens, _ = _sample(
            step, state, memory, tf.zeros_like(draws, tf.int32), choose, start_id, end_id
        )
    tokens = tf.stop_gradient(tokens)
    return tokens, _lengths(tokens)


def sample_search(
    step: StepFunction,
    state: Any,
    memory: Any,
    batch: tf.Tensor,
    options: DecodingOptions,
    keys: tf.Tensor,
) -> Captions:
    """Draws captions with the given options.

    The draws of an image depend only on the seed and on the key of the image, not on the batch or
    the number of captions.

    Args:
        step: one step of the model for N rows.
        state: nested initial state of B rows; this function repeats it to N rows.
        memory: nested tensors [B, ...], which `step` reads.
        batch: B.
        options: options of sampling; R = n captions are drawn per image.
        keys: int32[B], one number per image.

    Returns:
        The captions of each image, sorted by score. Captions without end marker (truncated at
        `max_length`, or stopped because constraints exclude all words) come last.
    """
    each, limit = options.returned or options.beam_size, options.max_length
    count = batch * each
    seeds = _seeds(keys, each, options.seed)
    draws = _uniform(seeds, limit) if options.method == "sample" else tf.zeros([0])

    def choose(t: tf.Tensor, logits: tf.Tensor, tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        excluded = excluded_words(lambda: tokens, t, options)
        masked, size = _masked(logits, options, excluded), logits.shape[-1]

        own_seeds = _fold_in(seeds, t) if options.method == "gumbel" else None

        def draw(rows: tf.Tensor, own_logits: tf.Tensor, count: int) -> tf.Tensor:
            weights, ids = _candidates(own_logits, count, options)
            if own_seeds is None:
                places = draw_words(weights, tf.gather(draws[:, t], rows))
            else:
                noise = _gumbel(_uniform(tf.gather(own_seeds, rows), size))[:, :count]
                places = tf.argmax(weights + noise, axis=-1, output_type=tf.int32)
            return places if ids is None else tf.gather(ids, places, batch_dims=1)

        rows = tf.range(count)
        if options.top_p < 1 and options.top_k is None and size > _SHORTLIST:
            words = draw(rows, masked, _SHORTLIST)
            # Sorting all words takes much longer than finding the most likely ones, so it is done
            # only for rows whose shortlist does not contain all words of `top_p`.
            rest = tf.where(~_shortlist_suffices(masked, options))[:, 0]
            drawn = draw(rest, tf.gather(masked, rest), size)
            words = tf.tensor_scatter_nd_update(words, rest[:, None], drawn)
        else:
            words = draw(rows, masked, min(options.top_k or size, size))
        log_probs = tf.gather(logits, words, batch_dims=1) - tf.reduce_logsumexp(logits, axis=-1)
        if excluded is not None:
            words = tf.where(possible(tf.reduce_max(masked, axis=-1)), words, 0)
        return words, log_probs

    tokens, log_probs = _sample(
        step, image_rows.repeat(state, count), memory, tf.zeros([count, limit], tf.int32), choose,
        options.start_id, options.end_id,
    )  # fmt: skip
    log_probs = tf.reshape(log_probs, [batch, each])
    found = Captions(
        tf.reshape(tokens, [batch, each, limit]),
        tf.reshape(_lengths(tokens), [batch, each]),
        log_probs,
        log_probs,
    )
    return best_first(found, each, options)


def _sample(
    step: StepFunction,
    state: Any,
    memory: Any,
    tokens: tf.Tensor,
    choose: _ChooseWords,
    start_id: int,
    end_id: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Generates words until all captions have ended.

    Args:
        step: one step of the model for N rows.
        state: nested tensors [N, ...].
        memory: memory that `step` reads.
        tokens: int32[N, T] of zeros.
        choose: chooses the next words.
        start_id: id of the start marker, the first input.
        end_id: id of the end marker.

    Returns:
        Tokens int32[N, T], 0 after the last word, and the sum of log p per caption, float32[N].
    """
    count, limit = tf.unstack(tf.shape(tokens))

    def body(
        t: tf.Tensor,
        words: tf.Tensor,
        state: Any,
        alive: tf.Tensor,
        log_probs: tf.Tensor,
        tokens: tf.Tensor,
    ) -> tuple[Any, ...]:
        logits, state = step(words, state, memory)
        words, own = choose(t, logits, tokens)
        words = tf.where(alive, words, 0)
        alive &= words != 0
        log_probs += tf.where(alive, own, 0.0)
        return t + 1, words, state, alive & (words != end_id), log_probs, append(tokens, words, t)

    start = (
        tf.constant(0),
        tf.fill([count], start_id),
        state,
        tf.fill([count], True),
        tf.zeros([count]),
        tokens,
    )
    *_, log_probs, tokens = tf.while_loop(
        lambda t, words, state, alive, *_: (t < limit) & tf.reduce_any(alive),
        body,
        start,
        shape_invariants=tracing.any_batch(start),
    )
    return tokens, log_probs


def _lengths(tokens: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tokens != 0, tf.int32), axis=1)


def _masked(logits: tf.Tensor, options: DecodingOptions, excluded: tf.Tensor | None) -> tf.Tensor:
    """Returns logits float32[N, V] in which excluded words are impossible; see `possible`."""
    count, size = tf.shape(logits)[0], logits.shape[-1]
    masked = logits + ops.suppression(options.never_generated, size)
    if excluded is None:
        return masked
    rows = tf.repeat(tf.range(count), excluded.shape[1])
    places = tf.stack([rows, tf.reshape(excluded, [-1])], axis=1)
    return tf.tensor_scatter_nd_update(masked, places, tf.fill(tf.shape(rows), IMPOSSIBLE))


def _shortlist_suffices(logits: tf.Tensor, options: DecodingOptions) -> tf.Tensor:
    """Returns whether the `_SHORTLIST` most likely words contain those of `top_p`: bool[N]."""
    shortlist, _ = ops.top_k(logits, _SHORTLIST)
    sums = [tf.reduce_logsumexp(x / options.temperature, axis=-1) for x in (shortlist, logits)]
    # With a margin for the different rounding of the two sums.
    return sums[0] - sums[1] > math.log(options.top_p) + 1e-5


def _candidates(
    logits: tf.Tensor, count: int, options: DecodingOptions
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Selects the words to draw from.

    Args:
        logits: float32[N, V].
        count: C, which is V without `top_k` and `top_p`.
        options: options of sampling.

    Returns:
        Logits float32[N, C] divided by the temperature, `IMPOSSIBLE` for words that are not drawn;
        and the words int32[N, C], most likely first, or None for all words in their order.
    """
    every, ids = logits, None
    if options.top_k is not None or options.top_p < 1:
        logits, ids = ops.top_k(logits, count)
    real = possible(logits)
    # Shifted first: division by a low temperature would overflow for large logits.
    most = tf.reduce_max(logits, axis=-1, keepdims=True)
    scaled = (logits - most) / options.temperature
    if options.top_p < 1:
        # Probabilities are normalized over all words, or over those of top_k.
        every = scaled if options.top_k is not None else (every - most) / options.temperature
        total = tf.reduce_logsumexp(every, axis=-1, keepdims=True)
        before = tf.cumsum(tf.exp(scaled - total), axis=-1, exclusive=True)
        real &= before < options.top_p
    return tf.where(real, scaled, IMPOSSIBLE), ids


def _seeds(keys: tf.Tensor, each: int, seed: int) -> tf.Tensor:
    """Returns one seed per caption, int32[B * each, 2], for keys int32[B]."""
    pairs = tf.stack(tf.meshgrid(keys, tf.range(each), indexing="ij"), axis=-1)

    def of_caption(pair: tf.Tensor) -> tf.Tensor:
        own = tf.stack([tf.constant(seed), pair[0]])
        return tf.random.experimental.stateless_fold_in(own, pair[1], alg=_ALGORITHM)

    return tf.map_fn(of_caption, tf.reshape(pairs, [-1, 2]))


def _fold_in(seeds: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Returns seeds int32[N, 2] for step t."""
    return tf.map_fn(
        lambda own: tf.random.experimental.stateless_fold_in(own, t, alg=_ALGORITHM), seeds
    )


def _uniform(seeds: tf.Tensor, size: int) -> tf.Tensor:
    """Draws uniform numbers in 0..1, one row per seed: int32[N, 2] -> float32[N, size]."""
    return tf.map_fn(
        lambda own: tf.random.stateless_uniform([size], own, alg=_ALGORITHM),
        seeds,
        fn_output_signature=tf.TensorSpec([size], tf.float32),
    )


def _gumbel(uniform: tf.Tensor) -> tf.Tensor:
    """Converts uniform numbers in 0..1 to Gumbel noise."""
    tiny = 1e-20
    return -tf.math.log(-tf.math.log(uniform + tiny) + tiny)
