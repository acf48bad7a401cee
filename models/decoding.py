"""Batched greedy and beam search, each in one graph loop.

Letters: B batch, W beam width, T longest caption, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from models import ops

# (tokens int32[N], state) -> (logits float32[N, V], state); N rows are independent.
StepFunction = Callable[[tf.Tensor, Any], tuple[tf.Tensor, Any]]

_MINUS_INFINITY = -1e9


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How captions are searched.

    Attributes:
        beam_size: hypotheses kept alive; 1 searches greedily.
        max_length: most words of a caption, the end marker included.
        length_normalization: alpha; a caption of n words (end marker included) scores
            log p / n**alpha. Upstream uses 0.
        suppressed: ids that are never generated (padding, start, unknown).
        start_id: id fed in first.
        end_id: id that ends a caption.
    """

    beam_size: int = 3
    max_length: int = 20
    length_normalization: float = 0.0
    suppressed: tuple[int, ...] = (0, 1)
    start_id: int = 1
    end_id: int = 2

    def __post_init__(self) -> None:
        """Refuses sizes below one and a negative length normalisation."""
        for name in ("beam_size", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.length_normalization < 0:
            raise ValueError(
                f"length_normalization must not be negative, found {self.length_normalization}"
            )


class Captions(NamedTuple):
    """What a search found, best first.

    Attributes:
        tokens: int32[B, W, T], 0 after the end marker.
        lengths: int32[B, W], end marker included; 0 for a place that no hypothesis took.
        scores: float32[B, W], log p / length**alpha; very low for an empty place.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor


def decode(model: Any, memory: Any, options: DecodingOptions) -> Captions:
    """Searches captions with a captioner (design section 4) for encoded images.

    Args:
        model: has `initial_state(memory)`, `step(tokens, state, memory)` and `logits(hidden)`.
        memory: nested tensors, batch first, as the model's `encode` gives them.
        options: of the search.

    Returns:
        The captions found, W = `options.beam_size` an image (1 for greedy search).
    """
    state = model.initial_state(memory)
    batch = tf.shape(tf.nest.flatten(memory)[0])[0]
    width = options.beam_size
    # A beam never leaves its image: the memory is repeated once and never gathered.
    memory = tf.nest.map_structure(lambda x: tf.repeat(x, width, axis=0), memory)

    def step(tokens: tf.Tensor, state: Any) -> tuple[tf.Tensor, Any]:
        hidden, state = model.step(tokens, state, memory)
        return model.logits(hidden), state

    if width == 1:
        return greedy_search(step, state, batch, options)
    return beam_search(step, state, batch, options)


def greedy_search(
    step: StepFunction, state: Any, batch: tf.Tensor, options: DecodingOptions
) -> Captions:
    """Takes the most likely word at each step until every row has ended.

    Args:
        step: one step of the model for B rows.
        state: nested start state, B first.
        batch: B.
        options: of the search; `beam_size` is not read.

    Returns:
        Captions with W = 1. A row cut at `max_length` has no end marker.
    """
    limit = options.max_length

    def body(
        t: tf.Tensor,
        tokens: tf.Tensor,
        state: Any,
        alive: tf.Tensor,
        log_probs: tf.Tensor,
        written: tf.Tensor,
    ) -> tuple[Any, ...]:
        logits, state = step(tokens, state)
        scores = _suppress(logits, options.suppressed)
        words = tf.argmax(scores, -1, output_type=tf.int32)
        best = tf.reduce_max(scores, -1) - tf.reduce_logsumexp(logits, -1)
        log_probs += tf.where(alive, best, 0.0)
        words = tf.where(alive, words, 0)
        written = _append(written[:, None], words[:, None], t)[:, 0]
        return t + 1, words, state, alive & (words != options.end_id), log_probs, written

    start = (
        tf.constant(0),
        tf.fill([batch], options.start_id),
        state,
        tf.fill([batch], True),
        tf.zeros([batch]),
        tf.zeros([batch, limit], tf.int32),
    )
    *_, log_probs, tokens = tf.while_loop(
        lambda t, tokens, state, alive, *_: (t < limit) & tf.reduce_any(alive),
        body,
        start,
        shape_invariants=ops.any_batch(start),
    )
    lengths = tf.reduce_sum(tf.cast(tokens != 0, tf.int32), -1)
    scores = _score(log_probs, lengths, options.length_normalization)
    return Captions(tokens[:, None], lengths[:, None], scores[:, None])


def beam_search(
    step: StepFunction, state: Any, batch: tf.Tensor, options: DecodingOptions
) -> Captions:
    """Beam search with separate sets of living and finished hypotheses.

    At each step the 2W best continuations (by log p) of an image's living hypotheses are taken.
    Those that end join the finished set, which keeps its W best by score; the W best of the others
    live on. The loop stops when no living hypothesis can still enter a finished set, or at
    `max_length`, where the living ones join the finished set if that is not full.

    Args:
        step: one step of the model for B * W rows.
        state: nested start state of B rows; it is repeated to B * W rows here.
        batch: B.
        options: of the search.

    Returns:
        The W best captions of each image. Ties go to the earlier hypothesis, then the lower id.
    """
    width, limit, alpha = options.beam_size, options.max_length, options.length_normalization
    state = tf.nest.map_structure(lambda x: tf.repeat(x, width, axis=0), state)
    # All W hypotheses start equal: all but the first are out of the race at the first step.
    first = tf.tile(tf.constant([[0.0] + [_MINUS_INFINITY] * (width - 1)]), [batch, 1])

    def body(
        t: tf.Tensor,
        words: tf.Tensor,
        state: Any,
        log_probs: tf.Tensor,
        living: tf.Tensor,
        finished: Captions,
    ) -> tuple[Any, ...]:
        logits, state = step(tf.reshape(words, [-1]), state)
        # The softmax's denominator alone, and V log-probabilities are never written out.
        total = tf.reduce_logsumexp(logits, -1, keepdims=True)
        best, ids = tf.math.top_k(_suppress(logits, options.suppressed), 2 * width)
        best = tf.reshape(best - total, [batch, width, 2 * width]) + log_probs[:, :, None]
        best, places = tf.math.top_k(tf.reshape(best, [batch, -1]), 2 * width)
        parents = places // (2 * width)
        ids = tf.gather(tf.reshape(ids, [batch, -1]), places, batch_dims=1)
        tokens = _append(tf.gather(living, parents, batch_dims=1), ids, t)
        ended = ids == options.end_id

        scores = _score(best, t + 1, alpha)
        finished = _keep_best(
            finished, tokens, t + 1, tf.where(ended, scores, _MINUS_INFINITY), width
        )
        log_probs, kept = tf.math.top_k(tf.where(ended, _MINUS_INFINITY, best), width)
        words, living, parents = (tf.gather(x, kept, batch_dims=1) for x in (ids, tokens, parents))
        rows = tf.reshape(tf.range(batch)[:, None] * width + parents, [-1])
        state = tf.nest.map_structure(lambda x: tf.gather(x, rows), state)
        return t + 1, words, state, log_probs, living, finished

    def undecided(
        t: tf.Tensor,
        words: tf.Tensor,
        state: Any,
        log_probs: tf.Tensor,
        living: tf.Tensor,
        finished: Captions,
    ) -> tf.Tensor:
        # log p only falls, so a longest caption of today's log p is the best that can still come.
        hope = _score(log_probs[:, 0], limit, alpha)
        return (t < limit) & tf.reduce_any(hope > finished.scores[:, -1])

    none = Captions(
        tf.zeros([batch, width, limit], tf.int32),
        tf.zeros([batch, width], tf.int32),
        tf.fill([batch, width], _MINUS_INFINITY),
    )
    start = (
        tf.constant(0),
        tf.fill([batch, width], options.start_id),
        state,
        first,
        tf.zeros([batch, width, limit], tf.int32),
        none,
    )
    t, _, _, log_probs, living, finished = tf.while_loop(
        undecided, body, start, shape_invariants=ops.any_batch(start)
    )
    return _fill_up(finished, living, t, _score(log_probs, t, alpha))


def _suppress(logits: tf.Tensor, ids: tuple[int, ...]) -> tf.Tensor:
    """Puts the logits [N, V] of `ids` out of reach."""
    if not ids:
        return logits
    vocabulary = tf.shape(logits)[-1]
    mask = tf.reduce_sum(tf.one_hot(list(ids), vocabulary, on_value=_MINUS_INFINITY), 0)
    return logits + mask


def _score(log_probs: tf.Tensor, lengths: tf.Tensor | int, alpha: float) -> tf.Tensor:
    """log p / length**alpha."""
    if not alpha:
        return log_probs
    return log_probs / tf.cast(tf.maximum(lengths, 1), tf.float32) ** alpha


def _append(tokens: tf.Tensor, ids: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Writes ids int32[B, X] at step t of tokens int32[B, X, T], where all later steps are 0."""
    return tokens + ids[:, :, None] * tf.one_hot(t, tf.shape(tokens)[2], dtype=tf.int32)


def _keep_best(
    kept: Captions, tokens: tf.Tensor, length: tf.Tensor, scores: tf.Tensor, width: int
) -> Captions:
    """The `width` best of `kept` [B, W] and new hypotheses [B, X] that are all `length` long."""
    lengths = tf.fill(tf.shape(scores), length)
    scores, order = tf.math.top_k(tf.concat([kept.scores, scores], 1), width)
    tokens, lengths = (
        tf.gather(tf.concat(pair, 1), order, batch_dims=1)
        for pair in ((kept.tokens, tokens), (kept.lengths, lengths))
    )
    taken = scores > _MINUS_INFINITY / 2
    return Captions(tf.where(taken[:, :, None], tokens, 0), tf.where(taken, lengths, 0), scores)


def _fill_up(
    finished: Captions, living: tf.Tensor, length: tf.Tensor, scores: tf.Tensor
) -> Captions:
    """Unfinished hypotheses, best first, take the places that no finished one took."""
    width = tf.shape(scores)[1]
    taken = tf.reduce_sum(tf.cast(finished.lengths > 0, tf.int32), 1, keepdims=True)
    place = tf.range(width)[None]
    source = tf.where(place < taken, place, width + place - taken)
    lengths = tf.where(scores > _MINUS_INFINITY / 2, length, 0)
    pairs = zip(finished, (living, lengths, scores), strict=True)
    return Captions(*(tf.gather(tf.concat(pair, 1), source, batch_dims=1) for pair in pairs))
