"""The loop of a beam search: steps hypotheses until the captions of each image are certain.

Letters: B images, b images that are not decided yet, W hypotheses alive per image, R captions
returned of each, T longest caption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from models.decoding.captions import Captions
from models.decoding.options import DecodingOptions, largest_beam
from models.decoding.steps import StepFunction
from models.layers import image_rows, tracing

# Decided images leave the search once they are this share of its images: removing them copies the
# state and memory of all others.
_DECIDED_PERCENT = 20


class Search(NamedTuple):
    """Loop variables of a beam search over the b images that are not decided yet.

    Attributes:
        images: int32[b], their indices in the batch.
        words: int32[b, W], last word of each living hypothesis.
        state: nested, b * W first.
        memory: nested, b first.
        log_probs: float32[b, W], of the living hypotheses, best first within a group.
        penalties: float32[b, W], by which hypotheses of groups rank below their log p; () without
            groups.
        living: int32[b, W, T], their words.
        finished: best finished captions of each group.
    """

    images: tf.Tensor
    words: tf.Tensor
    state: Any
    memory: Any
    log_probs: tf.Tensor
    penalties: Any
    living: tf.Tensor
    finished: tuple[Captions, ...]

    @property
    def ranks(self) -> tf.Tensor:
        """Numbers that rank the living hypotheses, float32[b, W]."""
        if isinstance(self.penalties, tuple):
            return self.log_probs
        return self.log_probs - self.penalties


def start_search(
    state: Any,
    memory: Any,
    batch: tf.Tensor,
    log_probs: Sequence[float],
    finished: tuple[Captions, ...],
    options: DecodingOptions,
    penalties: Any = (),
) -> Search:
    """Returns the search of B images before the first word.

    Args:
        state: nested start state of B rows; it is repeated to B * W rows.
        memory: nested tensors, B first.
        batch: B.
        log_probs: log probabilities of the W start hypotheses of every image.
        finished: finished captions of each group, none yet.
        options: options of the search.
        penalties: float32[B, W]; () without groups.
    """
    width = len(log_probs)
    return Search(
        images=tf.range(batch),
        words=tf.fill([batch, width], options.start_id),
        state=image_rows.repeat(state, batch * width),
        memory=memory,
        log_probs=tf.tile([log_probs], [batch, 1]),
        penalties=penalties,
        living=tf.zeros([batch, width, options.max_length], tf.int32),
        finished=finished,
    )


def run_search(
    start: Search,
    advance: Callable[[tf.Tensor, Search], Search],
    undecided: Callable[[Search], tf.Tensor],
    fill: Callable[[tf.Tensor, Search], tuple[Captions, ...]],
    options: DecodingOptions,
) -> tuple[Captions, ...]:
    """Runs a search until all images are decided, or to the longest caption.

    Decided images leave the search, which then steps fewer rows.

    Args:
        start: start of all B images.
        advance: (step t, search) -> the search after every hypothesis was extended by a word.
        undecided: search -> bool[b], images whose finished captions may still change.
        fill: (steps, search) -> `finished`, with living hypotheses in their empty places.
        options: options of the search.

    Returns:
        The finished captions of each group, B first.
    """

    def body(t: tf.Tensor, search: Search, found: Any) -> tuple[Any, ...]:
        search = advance(t, search)
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

    first = (tf.constant(0), start, start.finished)
    t, search, found = tf.while_loop(
        lambda t, search, _: (t < options.max_length) & (tf.size(search.images) > 0),
        body,
        first,
        shape_invariants=tracing.any_batch(first),
    )
    inserted: tuple[Captions, ...] = _insert(found, search.images, fill(t, search))
    return inserted


def check_vocabulary(size: int, options: DecodingOptions) -> None:
    """Raises ValueError for a vocabulary with fewer than W first words."""
    largest = largest_beam(size, options)
    if largest < options.beam_size:
        raise ValueError(
            f"beam_size={options.beam_size} is too large for a vocabulary of {size}: only "
            f"{largest} of its words can follow the start, the others are never generated or end "
            f"the caption; search with beam_size={max(largest, 1)} at most"
        )


def step_all(step: StepFunction, t: tf.Tensor, search: Search) -> tuple[tf.Tensor, Any]:
    """Steps every hypothesis; before the first word, only one per image, as they are equal."""
    width = search.words.shape[1]

    def first() -> tuple[tf.Tensor, Any]:
        # Not [::width]: a slice in strides is copied number by number.
        rows = tf.range(0, tf.size(search.words), width)
        state = tf.nest.map_structure(lambda x: tf.gather(x, rows), search.state)
        found = step(search.words[:, 0], state, search.memory)
        return tuple(image_rows.repeat(found, tf.size(search.words)))

    def others() -> tuple[tf.Tensor, Any]:
        return step(tf.reshape(search.words, [-1]), search.state, search.memory)

    found: tuple[tf.Tensor, Any] = tf.cond(tf.equal(t, 0), first, others)
    return found


def state_of(state: Any, parents: tf.Tensor) -> Any:
    """Returns the state of hypotheses that continue `parents` int32[b, W] of W: b * W first."""
    batch, width = tf.unstack(tf.shape(parents))
    rows = tf.reshape(tf.range(batch)[:, None] * width + parents, [-1])
    return tf.nest.map_structure(lambda x: tf.gather(x, rows), state)


def _select_images(search: Search, kept: tf.Tensor) -> Search:
    """Returns the search of the images where `kept` bool[b]."""
    images = tf.where(kept)[:, 0]
    rows = tf.where(tf.repeat(kept, tf.shape(search.words)[1]))[:, 0]
    state = tf.nest.map_structure(lambda x: tf.gather(x, rows), search.state)
    others = search._replace(state=())
    return tf.nest.map_structure(lambda x: tf.gather(x, images), others)._replace(state=state)


def _insert(found: Any, images: tf.Tensor, captions: Any) -> Any:
    """Returns nested tensors `found` [B, ...] with rows [b, ...] of `images` int32[b] inserted."""
    return tf.nest.map_structure(
        lambda all_, own: tf.tensor_scatter_nd_update(all_, images[:, None], own), found, captions
    )
