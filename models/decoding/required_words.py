"""Beam search for captions that contain required words (grid beam search).

Letters: B images, b images that are not decided yet, K banks, W hypotheses per bank, R captions
returned per image, C continuations of a hypothesis, T maximum length of a caption, V vocabulary, P
words of a phrase.
"""

from __future__ import annotations

from functools import partial
from typing import Any

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
    fill_empty,
    hypotheses,
    keep_best,
    no_captions,
)
from models.decoding.constraints import excluded_words, most_likely
from models.decoding.options import DecodingOptions, Phrase
from models.decoding.scores import IMPOSSIBLE, best_reachable, score
from models.decoding.steps import StepFunction


def required_search(
    step: StepFunction, state: Any, memory: Any, batch: tf.Tensor, options: DecodingOptions
) -> Captions:
    """Runs grid beam search: one beam (bank) per number of required words that are generated.

    A hypothesis belongs to the bank of the number of required words that it contains: the words of
    complete phrases, plus those of a partial phrase at its end. Its continuations are its 2W most
    likely words, and the words that begin or continue a missing phrase. The W best hypotheses of
    each bank are kept, so that captions with all phrases exist after as many steps as the phrases
    have words. Only hypotheses of the last bank may end.

    Args:
        step: one step of the model for b * K * W rows.
        state: nested initial state of B rows; this function repeats it to B * K * W rows.
        memory: nested tensors [B, ...], which `step` reads.
        batch: B.
        options: options of the search.

    Returns:
        The R best captions of each image, which contain all phrases. If other constraints leave
        fewer captions, the remaining places are empty.

    Raises:
        ValueError: W exceeds the number of words that can follow the start marker without ending
            the caption.

    Source: Hokamp and Liu 2017 (arXiv 1704.07138).
    """
    width = (1 + sum(map(len, options.required))) * options.beam_size
    first = [0.0] + [IMPOSSIBLE] * (width - 1)

    def undecided(search: Search) -> tf.Tensor:
        best = tf.reduce_max(search.log_probs, axis=1)
        return best_reachable(best, options) > search.finished[0].scores[:, -1]

    returned = options.returned or options.beam_size
    finished = (no_captions(batch, returned, options.max_length),)
    start = start_search(state, memory, batch, first, finished, options)
    (found,) = run_search(
        start, partial(_advance, step, options), undecided, partial(_fill, options), options
    )
    return found


def _advance(step: StepFunction, options: DecodingOptions, t: tf.Tensor, search: Search) -> Search:
    """Extends every hypothesis by one word."""
    in_bank, limit = options.beam_size, options.max_length
    batch, width = tf.shape(search.images)[0], search.words.shape[1]
    logits, state = step_all(step, t, search)
    check_vocabulary(logits.shape[-1], options)
    best, ids = _continuations(logits, tf.reshape(search.living, [-1, limit]), t, options)
    words = best.shape[1]
    best = tf.reshape(best, [batch, width, words]) + search.log_probs[:, :, None]
    ids = tf.reshape(ids, [batch, width, words])
    tokens = append(tf.repeat(search.living[:, :, None], words, axis=2), ids, t)
    # One row per continuation.
    best, ids = (tf.reshape(x, [batch, width * words]) for x in (best, ids))
    tokens = tf.reshape(tokens, [batch, width * words, limit])
    bank = _bank(tokens, t + 1, options.required)
    last = sum(map(len, options.required))

    ended = ids == options.end_id
    whole = tf.where(ended & (bank == last), best, IMPOSSIBLE)
    kept = min(in_bank, width * words)
    log_probs, places = tf.math.top_k(whole, kept)
    new = hypotheses(
        tf.gather(tokens, places, batch_dims=1), t + 1, score(log_probs, t + 1, options), log_probs
    )
    of_banks = [
        tf.math.top_k(tf.where(~ended & (bank == number), best, IMPOSSIBLE), kept)
        for number in range(last + 1)
    ]
    log_probs, places = (tf.concat(each, axis=1) for each in zip(*of_banks, strict=True))
    return search._replace(
        words=tf.gather(ids, places, batch_dims=1),
        state=gather_state(state, places // words),
        log_probs=log_probs,
        living=tf.gather(tokens, places, batch_dims=1),
        finished=(keep_best(search.finished[0], new),),
    )


def _continuations(
    logits: tf.Tensor, tokens: tf.Tensor, t: tf.Tensor, options: DecodingOptions
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns log p float32[N, C] and ids int32[N, C] of next words, distinct within a row."""
    excluded = excluded_words(lambda: tokens, t, options)
    count = min(2 * options.beam_size, logits.shape[-1])
    best, ids = most_likely(logits, count, options, excluded)
    needed = _needed(tokens, t, options.required)
    log_probs = tf.gather(logits, needed, batch_dims=1)
    log_probs -= tf.reduce_logsumexp(logits, -1, keepdims=True)
    size = needed.shape[1]
    equal = needed[:, :, None] == needed[:, None, :]
    earlier = tf.constant([[j < i for j in range(size)] for i in range(size)])
    refused = tf.reduce_any(equal & earlier, axis=-1) | (needed == 0)
    refused |= tf.reduce_any(needed[:, :, None] == ids[:, None, :], axis=-1)
    if excluded is not None:
        refused |= tf.reduce_any(needed[:, :, None] == excluded[:, None, :], axis=-1)
    log_probs = tf.where(refused, IMPOSSIBLE, log_probs)
    return tf.concat([best, log_probs], axis=1), tf.concat([ids, needed], axis=1)


def _needed(tokens: tf.Tensor, t: tf.Tensor, required: tuple[Phrase, ...]) -> tf.Tensor:
    """Returns words that begin or continue a missing phrase, int32[N, 2 * phrases], 0-padded."""
    found = []
    for phrase in required:
        complete, progress = _progress(tokens, t, phrase)
        following = tf.gather(tf.constant(phrase), tf.minimum(progress, len(phrase) - 1))
        found += [tf.where(complete, 0, word) for word in (following, phrase[0])]
    return tf.stack(found, axis=1)


def _bank(tokens: tf.Tensor, t: tf.Tensor, required: tuple[Phrase, ...]) -> tf.Tensor:
    """Returns the bank int32[...] of hypotheses of t words int32[..., T].

    The bank is the number of required words: all words of complete phrases, and those of the
    longest partial phrase at the end.
    """
    whole, begun = [], []
    for phrase in required:
        complete, progress = _progress(tokens, t, phrase)
        whole.append(tf.where(complete, len(phrase), 0))
        begun.append(tf.where(complete, 0, progress))
    # The last words count for one partial phrase only.
    return tf.add_n(whole) + tf.reduce_max(tf.stack(begun), axis=0)


def _progress(tokens: tf.Tensor, t: tf.Tensor, phrase: Phrase) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the state of a phrase in hypotheses of t words int32[..., T].

    Returns:
        Whether the hypothesis contains the phrase, bool[...], and the number of words of the phrase
        that a hypothesis ends with, int32[...] from 0 to P - 1.
    """
    size, limit = len(phrase), tokens.shape[-1]
    # ends[i][..., t]: whether the first i + 1 words of the phrase end at position t.
    padding = [[0, 0]] * (tokens.shape.rank - 1) + [[size - 1, 0]]
    padded = tf.pad(tokens, padding)
    ends = [
        tf.reduce_all(
            [
                padded[..., size - 1 - i + j : size - 1 - i + j + limit] == phrase[j]
                for j in range(i + 1)
            ],
            axis=0,
        )
        for i in range(size)
    ]
    complete = tf.reduce_any(ends[-1], axis=-1)
    progress = tf.zeros_like(complete, tf.int32)
    for i, at in enumerate(ends[:-1]):
        last = tf.gather(at, tf.maximum(t - 1, 0), axis=-1)
        progress = tf.where(last & (t > 0), i + 1, progress)
    return complete, progress


def _fill(options: DecodingOptions, t: tf.Tensor, search: Search) -> tuple[Captions, ...]:
    """Fills empty places with living hypotheses of the last bank, which have t words."""
    log_probs, living = (x[:, -options.beam_size :] for x in (search.log_probs, search.living))
    new = hypotheses(living, t, score(log_probs, t, options), log_probs)
    return (fill_empty(search.finished[0], new),)
