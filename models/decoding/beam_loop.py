"""Loop of a beam search, which runs until the captions of every image are decided.

Letters: B images, b images that are not decided yet, W living hypotheses per image, R captions
returned per image, T maximum length of a caption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from models.decoding.captions import Captions
from models.decoding.options import DecodingOptions, largest_beam
from models.decoding.steps import StepFunction
from models.layers import image_rows, tracing

# Decided images are removed once they make up this share of the images of the search. Removing them
# copies the state and memory of all others.
_DECIDED_PERCENT = 20


class Search(NamedTuple):
    """Loop variables of a beam search over the b images that are not decided yet.

    Attributes:
        images: int32[b], indices of the images in the batch.
        words: int32[b, W], last word of each living hypothesis.
        state: nested tensors [b * W, ...].
        memory: nested tensors [b, ...].
        log_probs: float32[b, W], log p of the living hypotheses, best first within a group.
        penalties: float32[b, W], diversity penalties, which are subtracted from log p for the
            ranking; () without groups.
        living: int32[b, W, T], words of the living hypotheses.
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
        """Values by which the living hypotheses are ranked, float32[b, W]."""
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
        state: nested initial state of B rows; this function repeats it to B * W rows.
        memory: nested tensors [B, ...].
        batch: B.
        log_probs: log probabilities of the W initial hypotheses of every image.
        finished: empty sets of finished captions, one per group.
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
    """Runs a search until all images are decided, or up to `max_length`.

    Decided images are removed from the search, so that later steps have fewer rows.

    Args:
        start: the search of all B images before the first word.
        advance: (step t, search) -> the search with every hypothesis extended by one word.
        undecided: search -> bool[b], true for images whose finished captions may still change.
        fill: (number of steps, search) -> `finished`, with living hypotheses in empty places.
        options: options of the search.

    Returns:
        The finished captions of each group, for B images.
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
    """Raises ValueError if fewer than W words of the vocabulary can follow the start marker."""
    largest = largest_beam(size, options)
    if largest < options.beam_size:
        raise ValueError(
            f"beam_size={options.beam_size} is too large for a vocabulary of {size} words: only "
            f"{largest} of them can follow the start marker, the others are never generated or end "
            f"the caption; set beam_size to {max(largest, 1)} or less"
        )


def step_all(step: StepFunction, t: tf.Tensor, search: Search) -> tuple[tf.Tensor, Any]:
    """Computes a step for every hypothesis.

    The hypotheses of an image are equal before the first word, so step 0 computes one per image.
    """
    width = search.words.shape[1]

    def first() -> tuple[tf.Tensor, Any]:
        # A gather, because a strided slice [::width] is copied element by element.
        rows = tf.range(0, tf.size(search.words), width)
        state = tf.nest.map_structure(lambda x: tf.gather(x, rows), search.state)
        found = step(search.words[:, 0], state, search.memory)
        return tuple(image_rows.repeat(found, tf.size(search.words)))

    def others() -> tuple[tf.Tensor, Any]:
        return step(tf.reshape(search.words, [-1]), search.state, search.memory)

    found: tuple[tf.Tensor, Any] = tf.cond(tf.equal(t, 0), first, others)
    return found


def gather_state(state: Any, parents: tf.Tensor) -> Any:
    """Returns the state [b * W, ...] of hypotheses that extend hypotheses `parents` int32[b, W]."""
    batch, width = tf.unstack(tf.shape(parents))
    rows = tf.reshape(tf.range(batch)[:, None] * width + parents, [-1])
    return tf.nest.map_structure(lambda x: tf.gather(x, rows), state)


def _select_images(search: Search, kept: tf.Tensor) -> Search:
    """Returns the search of the images for which `kept` bool[b] is true."""
    images = tf.where(kept)[:, 0]
    rows = tf.where(tf.repeat(kept, tf.shape(search.words)[1]))[:, 0]
    state = tf.nest.map_structure(lambda x: tf.gather(x, rows), search.state)
    others = search._replace(state=())
    return tf.nest.map_structure(lambda x: tf.gather(x, images), others)._replace(state=state)


def _insert(found: Any, images: tf.Tensor, captions: Any) -> Any:
    """Replaces the rows of `images` int32[b] in `found` [B, ...] with `captions` [b, ...]."""
    return tf.nest.map_structure(
        lambda all_, own: tf.tensor_scatter_nd_update(all_, images[:, None], own), found, captions
    )
