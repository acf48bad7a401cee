"""Beam search and diverse beam search, in one graph loop.

Letters: B images, b images that are not decided yet, W beam width, G groups, w = W / G hypotheses
per group, R captions returned per image, T maximum length of a caption, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from models.decoding.beam_loop import (
    Search,
    check_vocabulary,
    gather_state,
    run_search,
    start_search,
    step_all,
)
from models.decoding.captions import (
    Captions,
    append,
    best_first,
    fill_empty,
    hypotheses,
    keep_best,
    no_captions,
)
from models.decoding.constraints import excluded_words, most_likely
from models.decoding.options import DecodingOptions
from models.decoding.scores import IMPOSSIBLE, best_reachable, score
from models.decoding.steps import StepFunction


def beam_search(
    step: StepFunction, state: Any, memory: Any, batch: tf.Tensor, options: DecodingOptions
) -> Captions:
    """Runs a beam search with separate sets of living and finished hypotheses.

    Each step selects the 2w best continuations of a group's living hypotheses, by log p minus the
    diversity penalties. Continuations that end join the group's finished set, which keeps the best
    by score. The w best of the others become the living hypotheses of the next step. An image is
    decided when no living hypothesis can still enter a finished set, or at `max_length`. At
    `max_length`, living hypotheses fill the empty places of the finished sets. The R best captions
    by score of all groups are returned.

    Args:
        step: one step of the model for b * W rows.
        state: nested initial state of B rows; this function repeats it to B * W rows.
        memory: nested tensors [B, ...], which `step` reads.
        batch: B.
        options: options of the search.

    Returns:
        The R best captions of each image. Ties go to the earlier hypothesis, then the lower id.

    Raises:
        ValueError: W exceeds the number of words that can follow the start marker without ending
            the caption.
    """
    width, groups = options.beam_size, options.beam_groups
    returned = options.returned or width
    # If R = G, the best caption of each group is returned.
    of_group = -(-returned // groups)
    in_group = width // groups
    # The w initial hypotheses are equal, so only the first one is extended at the first step.
    first = ([0.0] + [IMPOSSIBLE] * (in_group - 1)) * groups

    def undecided(search: Search) -> tf.Tensor:
        ranks = search.ranks
        return tf.reduce_any(
            [
                best_reachable(ranks[:, g * in_group], options) > finished.scores[:, -1]
                for g, finished in enumerate(search.finished)
            ],
            axis=0,
        )

    finished = (no_captions(batch, of_group, options.max_length),) * groups
    penalties = () if groups == 1 else tf.zeros([batch, width])
    start = start_search(state, memory, batch, first, finished, options, penalties)
    found = run_search(
        start, partial(_advance, step, options), undecided, partial(_fill, options), options
    )
    if groups == 1:
        return found[0]
    together = Captions(*(tf.concat(each, 1) for each in zip(*found, strict=True)))
    return best_first(together, returned, options)


class _Group(NamedTuple):
    """Living hypotheses of a group, tensors [b, ...]; see `Search`.

    `parents` int32[b, w] are the indices of the hypotheses that they extend.
    """

    words: tf.Tensor
    log_probs: tf.Tensor
    ranks: tf.Tensor
    living: tf.Tensor
    parents: tf.Tensor


def _advance(step: StepFunction, options: DecodingOptions, t: tf.Tensor, search: Search) -> Search:
    """Extends every hypothesis by one word."""
    width, groups = options.beam_size, options.beam_groups
    limit, batch = options.max_length, tf.shape(search.images)[0]
    logits, state = step_all(step, t, search)
    size = logits.shape[-1]
    check_vocabulary(size, options)
    excluded = excluded_words(lambda: tf.reshape(search.living, [-1, limit]), t, options)
    # At most the W - w words of other groups are penalized, so the 2w best other words are among
    # the best W + w.
    count = min(width + width // groups, size)
    best, ids = most_likely(logits, count, options, excluded)
    best = tf.reshape(best, [batch, width, count]) + search.log_probs[:, :, None]
    ids = tf.reshape(ids, [batch, width, count])
    grown: list[_Group] = []
    finished: list[Captions] = []
    each = zip(
        search.finished, *(_split(x, groups) for x in (best, ids, search.living)), strict=True
    )
    for g, (ended, own_best, own_ids, living) in enumerate(each):
        ranks = own_best
        if groups > 1:
            ranks -= _split(search.penalties, groups)[g][:, :, None]
            ranks -= options.diversity * _counts(own_ids, [group.words for group in grown])
        group, own_finished = _grow(own_best, ranks, own_ids, living, ended, t, options)
        grown.append(group)
        finished.append(own_finished)
    parents = [group.parents + g * (width // groups) for g, group in enumerate(grown)]
    log_probs = _join([group.log_probs for group in grown])
    ranks = _join([group.ranks for group in grown])
    return search._replace(
        words=_join([group.words for group in grown]),
        state=gather_state(state, _join(parents)),
        log_probs=log_probs,
        penalties=() if groups == 1 else log_probs - ranks,
        living=_join([group.living for group in grown]),
        finished=tuple(finished),
    )


def _grow(
    best: tf.Tensor,
    ranks: tf.Tensor,
    ids: tf.Tensor,
    living: tf.Tensor,
    finished: Captions,
    t: tf.Tensor,
    options: DecodingOptions,
) -> tuple[_Group, Captions]:
    """Selects among the continuations of a group's hypotheses.

    Args:
        best: float32[b, w, C], log p of each hypothesis with each of C next words.
        ranks: float32[b, w, C], values by which continuations are ranked; `best` itself without
            penalties.
        ids: int32[b, w, C], ids of the next words.
        living: int32[b, w, T], words of the hypotheses.
        finished: finished captions of the group.
        t: the step.
        options: options of the search.

    Returns:
        The living hypotheses and the finished captions of the group after the step.
    """
    in_group, words = best.shape[1], best.shape[2]
    batch, plain = tf.shape(best)[0], ranks is best
    taken, places = tf.math.top_k(tf.reshape(ranks, [batch, in_group * words]), 2 * in_group)
    parents = places // words

    def chosen(x: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.reshape(x, [batch, in_group * words]), places, batch_dims=1)

    next_words = chosen(ids)
    log_probs = taken if plain else chosen(best)
    tokens = append(tf.gather(living, parents, batch_dims=1), next_words, t)
    ended = next_words == options.end_id
    scores = tf.where(ended, score(taken, t + 1, options), IMPOSSIBLE)
    finished = keep_best(finished, hypotheses(tokens, t + 1, scores, log_probs))
    taken, kept = tf.math.top_k(tf.where(ended, IMPOSSIBLE, taken), in_group)
    next_words, tokens, parents = (
        tf.gather(x, kept, batch_dims=1) for x in (next_words, tokens, parents)
    )
    log_probs = taken if plain else tf.gather(log_probs, kept, batch_dims=1)
    return _Group(next_words, log_probs, taken, tokens, parents), finished


def _fill(options: DecodingOptions, t: tf.Tensor, search: Search) -> tuple[Captions, ...]:
    """Fills empty places of the finished sets with living hypotheses, which have t words."""
    groups = options.beam_groups
    each = zip(
        search.finished,
        *(_split(x, groups) for x in (search.living, search.ranks, search.log_probs)),
        strict=True,
    )
    return tuple(
        fill_empty(finished, hypotheses(living, t, score(ranks, t, options), log_probs))
        for finished, living, ranks, log_probs in each
    )


def _counts(ids: tf.Tensor, earlier: Sequence[tf.Tensor]) -> tf.Tensor:
    """Counts for each of `ids` [b, w, C] the equal words int32[b, w] of earlier groups."""
    if not earlier:
        return tf.zeros_like(ids, tf.float32)
    words = tf.concat(earlier, 1)[:, None, None]
    return tf.reduce_sum(tf.cast(ids[..., None] == words, tf.float32), -1)


def _split(x: tf.Tensor, groups: int) -> list[tf.Tensor]:
    """Splits [b, W, ...] into one tensor [b, w, ...] per group."""
    return [x] if groups == 1 else tf.split(x, groups, axis=1)


def _join(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    return parts[0] if len(parts) == 1 else tf.concat(parts, 1)
