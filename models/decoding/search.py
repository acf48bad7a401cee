"""Batched greedy and beam search, each in one graph loop.

Letters: B images, W beam width, R captions returned of each, T longest caption, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from models.captioners.base import Captioner
from models.layers import image_rows, ops, tracing
from models.layers.prepared_weights import prepare_weights

# (tokens int32[N], state, memory of B images) -> (logits float32[N, V] of known V, state); the
# N / B rows of an image stand together, and rows are independent.
StepFunction = Callable[[tf.Tensor, Any, Any], tuple[tf.Tensor, Any]]

_MINUS_INFINITY = -1e9
# Decided images leave the search once they are this share of its images: removing them copies the
# state and memory of all others.
_DECIDED_PERCENT = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """Settings of a search for captions.

    Attributes:
        beam_size: hypotheses kept alive; 1 searches greedily.
        returned: best captions returned per image; the search of an image ends once these are
            certain. None returns `beam_size`.
        max_length: most words of a caption, the end marker included.
        length_normalization: alpha; a caption of n words (end marker included) scores
            log p / n**alpha. Upstream uses 0.
        suppressed: ids that are never generated (padding, start, unknown).
        start_id: id fed in first.
        end_id: id that ends a caption.
    """

    beam_size: int = 3
    returned: int | None = None
    max_length: int = 20
    length_normalization: float = 0.0
    suppressed: tuple[int, ...] = (0, 1)
    start_id: int = 1
    end_id: int = 2

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        for name in ("beam_size", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.returned is not None and not 1 <= self.returned <= self.beam_size:
            raise ValueError(
                f"returned={self.returned} must be between 1 and beam_size={self.beam_size}"
            )
        if not 0 <= self.length_normalization < math.inf:
            raise ValueError(
                "length_normalization must be a number and not negative, found "
                f"{self.length_normalization}"
            )


class Captions(NamedTuple):
    """Captions found by a search, best first.

    Attributes:
        tokens: int32[B, R, T], 0 after the end marker.
        lengths: int32[B, R], end marker included; 0 for a place that no hypothesis took.
        scores: float32[B, R], log p / length**alpha; very low for an empty place.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor


def decode(model: Captioner, memory: Any, options: DecodingOptions) -> Captions:
    """Searches captions with a captioner for encoded images.

    Args:
        model: a captioner.
        memory: nested tensors, batch first, from the model's `encode`.
        options: of the search.

    Returns:
        The captions found.
    """
    state = model.initial_state(memory, options.max_length)
    batch = tf.shape(tf.nest.flatten(memory)[0])[0]

    def step(tokens: tf.Tensor, state: Any, memory: Any) -> tuple[tf.Tensor, Any]:
        memory = model.expand_memory(memory, tf.shape(tokens)[0])
        hidden, state = model.step(tokens, state, memory)
        return model.logits(hidden), state

    search = greedy_search if options.beam_size == 1 else beam_search
    with prepare_weights(step, tf.TensorSpec([None], tf.int32), state, memory):
        return search(step, state, memory, batch, options)


def greedy_search(
    step: StepFunction, state: Any, memory: Any, batch: tf.Tensor, options: DecodingOptions
) -> Captions:
    """Takes the most likely word at each step until every row has ended.

    Args:
        step: one step of the model for B rows.
        state: nested start state, B first.
        memory: nested tensors, B first, which `step` reads.
        batch: B.
        options: of the search; `beam_size` is not read.

    Returns:
        Captions with R = 1. A row cut at `max_length` has no end marker.
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
        logits, state = step(tokens, state, memory)
        best, words = (x[:, 0] for x in _most_likely(logits, 1, options))
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
        shape_invariants=tracing.any_batch(start),
    )
    lengths = tf.reduce_sum(tf.cast(tokens != 0, tf.int32), -1)
    scores = _score(log_probs, lengths, options.length_normalization)
    return Captions(tokens[:, None], lengths[:, None], scores[:, None])


class _Search(NamedTuple):
    """Loop variables of a beam search over the b images that are not decided yet.

    Attributes:
        images: int32[b], their indices in the batch.
        words: int32[b, W], last word of each living hypothesis.
        state: nested, b * W first.
        memory: nested, b first.
        log_probs: float32[b, W], of the living hypotheses, best first.
        living: int32[b, W, T], their words.
        finished: the best that have ended.
    """

    images: tf.Tensor
    words: tf.Tensor
    state: Any
    memory: Any
    log_probs: tf.Tensor
    living: tf.Tensor
    finished: Captions


def beam_search(
    step: StepFunction, state: Any, memory: Any, batch: tf.Tensor, options: DecodingOptions
) -> Captions:
    """Beam search with separate sets of living and finished hypotheses.

    At each step the 2W best continuations (by log p) of an image's living hypotheses are taken.
    Those that end join the finished set, which keeps its R best by score; the W best of the others
    live on. An image is decided when no living hypothesis can still enter its finished set, or at
    `max_length`, where the living ones join the finished set if that is not full. Decided images
    leave the search, which then steps fewer rows.

    Args:
        step: one step of the model for b * W rows.
        state: nested start state of B rows; it is repeated to B * W rows here.
        memory: nested tensors, B first, which `step` reads.
        batch: B.
        options: of the search.

    Returns:
        The R best captions of each image. Ties go to the earlier hypothesis, then the lower id.

    Raises:
        ValueError: W is more than the words that can follow the start without ending the caption.
    """
    width, limit, alpha = options.beam_size, options.max_length, options.length_normalization
    returned = options.returned or width

    def undecided(search: _Search) -> tf.Tensor:
        # log p only falls: the best score still possible has today's log p at the largest length.
        possible = _score(search.log_probs[:, 0], limit, alpha)
        return possible > search.finished.scores[:, -1]

    def body(t: tf.Tensor, search: _Search, found: Captions) -> tuple[Any, ...]:
        search = _advance(step, t, search, options)
        still = undecided(search)
        decided = tf.math.count_nonzero(~still, dtype=tf.int32)
        return tf.cond(
            decided * 100 >= tf.size(still) * _DECIDED_PERCENT,
            lambda: (
                t + 1,
                _select_images(search, still),
                _insert(found, search.images, search.finished),
            ),
            lambda: (t + 1, search, found),
        )

    start = _Search(
        images=tf.range(batch),
        words=tf.fill([batch, width], options.start_id),
        state=image_rows.repeat(state, batch * width),
        memory=memory,
        # The W start hypotheses are equal: only the first one is extended at the first step.
        log_probs=tf.tile([[0.0] + [_MINUS_INFINITY] * (width - 1)], [batch, 1]),
        living=tf.zeros([batch, width, limit], tf.int32),
        finished=_no_captions(batch, returned, limit),
    )
    first = (tf.constant(0), start, start.finished)
    t, search, found = tf.while_loop(
        lambda t, search, _: (t < limit) & (tf.size(search.images) > 0),
        body,
        first,
        shape_invariants=tracing.any_batch(first),
    )
    scores = _score(search.log_probs, t, alpha)
    return _insert(found, search.images, _fill_up(search.finished, search.living, t, scores))


def _advance(
    step: StepFunction, t: tf.Tensor, search: _Search, options: DecodingOptions
) -> _Search:
    """Extends every hypothesis by a word."""
    width, batch = options.beam_size, tf.shape(search.images)[0]
    logits, state = step(tf.reshape(search.words, [-1]), search.state, search.memory)
    _check_vocabulary(logits.shape[-1], options)
    each = min(2 * width, logits.shape[-1])
    best, ids = _most_likely(logits, each, options)
    best = tf.reshape(best, [batch, width, each]) + search.log_probs[:, :, None]
    best, places = tf.math.top_k(tf.reshape(best, [batch, -1]), 2 * width)
    parents = places // each
    ids = tf.gather(tf.reshape(ids, [batch, -1]), places, batch_dims=1)
    tokens = _append(tf.gather(search.living, parents, batch_dims=1), ids, t)
    ended = ids == options.end_id

    scores = _score(best, t + 1, options.length_normalization)
    scores = tf.where(ended, scores, _MINUS_INFINITY)
    finished = _keep_best(search.finished, tokens, t + 1, scores)
    log_probs, kept = tf.math.top_k(tf.where(ended, _MINUS_INFINITY, best), width)
    words, living, parents = (tf.gather(x, kept, batch_dims=1) for x in (ids, tokens, parents))
    rows = tf.reshape(tf.range(batch)[:, None] * width + parents, [-1])
    return search._replace(
        words=words,
        state=tf.nest.map_structure(lambda x: tf.gather(x, rows), state),
        log_probs=log_probs,
        living=living,
        finished=finished,
    )


def largest_beam(vocabulary_size: int, options: DecodingOptions) -> int:
    """Returns the largest W: the number of words that can follow the start and are not the end."""
    excluded = {*options.suppressed, options.end_id} & set(range(vocabulary_size))
    return vocabulary_size - len(excluded)


def _check_vocabulary(size: int, options: DecodingOptions) -> None:
    """Raises ValueError for a vocabulary with fewer than W first words."""
    largest = largest_beam(size, options)
    if largest < options.beam_size:
        raise ValueError(
            f"beam_size={options.beam_size} is too large for a vocabulary of {size}: only "
            f"{largest} of its words can follow the start, the others are never generated or end "
            f"the caption; search with beam_size={max(largest, 1)} at most"
        )


def _select_images(search: _Search, kept: tf.Tensor) -> _Search:
    """Returns the search of the images where `kept` bool[b]."""
    images = tf.where(kept)[:, 0]
    rows = tf.where(tf.repeat(kept, tf.shape(search.words)[1]))[:, 0]
    state = tf.nest.map_structure(lambda x: tf.gather(x, rows), search.state)
    others = search._replace(state=())
    return tf.nest.map_structure(lambda x: tf.gather(x, images), others)._replace(state=state)


def _insert(found: Captions, images: tf.Tensor, captions: Captions) -> Captions:
    """Returns `found` [B, R] with the captions [b, R] of `images` int32[b] inserted."""
    return Captions(
        *(
            tf.tensor_scatter_nd_update(all_, images[:, None], own)
            for all_, own in zip(found, captions, strict=True)
        )
    )


def _no_captions(images: tf.Tensor, returned: int, limit: int) -> Captions:
    return Captions(
        tf.zeros([images, returned, limit], tf.int32),
        tf.zeros([images, returned], tf.int32),
        tf.fill([images, returned], _MINUS_INFINITY),
    )


def _most_likely(
    logits: tf.Tensor, count: int, options: DecodingOptions
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns log p and ids, [N, count] each, of the most likely words, best first.

    The log softmax is computed for these words only.
    """
    taken = min(count + len(options.suppressed), logits.shape[-1])
    best, ids = ops.top_k(logits, taken)
    best -= tf.reduce_logsumexp(logits, -1, keepdims=True)
    refused = tf.reduce_any(ids[..., None] == tf.constant(options.suppressed, tf.int32), axis=-1)
    best, places = tf.math.top_k(tf.where(refused, _MINUS_INFINITY, best), count)
    return best, tf.gather(ids, places, batch_dims=1)


def _score(log_probs: tf.Tensor, lengths: tf.Tensor | int, alpha: float) -> tf.Tensor:
    """Returns log p / length**alpha."""
    if not alpha:
        return log_probs
    return log_probs / tf.cast(tf.maximum(lengths, 1), tf.float32) ** alpha


def _append(tokens: tf.Tensor, ids: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Writes ids int32[B, X] at step t of tokens int32[B, X, T], where all later steps are 0."""
    return tokens + ids[:, :, None] * tf.one_hot(t, tf.shape(tokens)[2], dtype=tf.int32)


def _keep_best(kept: Captions, tokens: tf.Tensor, length: tf.Tensor, scores: tf.Tensor) -> Captions:
    """Returns the R best of `kept` [b, R] and of new hypotheses [b, X] of `length` words."""
    lengths = tf.fill(tf.shape(scores), length)
    scores, order = tf.math.top_k(tf.concat([kept.scores, scores], 1), kept.scores.shape[1])
    tokens, lengths = (
        tf.gather(tf.concat(pair, 1), order, batch_dims=1)
        for pair in ((kept.tokens, tokens), (kept.lengths, lengths))
    )
    taken = scores > _MINUS_INFINITY / 2
    return Captions(tf.where(taken[:, :, None], tokens, 0), tf.where(taken, lengths, 0), scores)


def _fill_up(
    finished: Captions, living: tf.Tensor, length: tf.Tensor, scores: tf.Tensor
) -> Captions:
    """Fills the empty places of `finished` with unfinished hypotheses [b, W], best first."""
    returned = tf.shape(finished.scores)[1]
    taken = tf.reduce_sum(tf.cast(finished.lengths > 0, tf.int32), 1, keepdims=True)
    place = tf.range(returned)[None]
    source = tf.where(place < taken, place, returned + place - taken)
    lengths = tf.where(scores > _MINUS_INFINITY / 2, length, 0)
    pairs = zip(finished, (living, lengths, scores), strict=True)
    return Captions(*(tf.gather(tf.concat(pair, 1), source, batch_dims=1) for pair in pairs))
