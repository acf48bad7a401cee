"""Reference beam search in plain Python, which the search in the graph must equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# (token, state) -> (logits float[V], state), for one hypothesis.
StepOne = Callable[[int, Any], tuple[np.ndarray, Any]]


def search(
    step: StepOne,
    state: Any,
    *,
    beam_size: int,
    max_length: int,
    alpha: float = 0.0,
    divisor: Callable[[int], float] | None = None,
    allowed: Callable[[list[int], int], bool] = lambda words, word: True,
    suppressed: Sequence[int] = (0, 1),
    start: int = 1,
    end: int = 2,
) -> list[tuple[list[int], float]]:
    """Returns the `beam_size` best captions of one image as (tokens, score), best first.

    log p of n words is divided by `divisor(n)`, by default n**alpha. `allowed(words, word)` returns
    whether `word` may follow `words`.
    """
    divisor = divisor or (lambda n: n**alpha)
    alive: list[tuple[float, list[int], Any]] = [(0.0, [start], state)]
    finished: list[tuple[list[int], float]] = []
    for length in range(1, max_length + 1):
        continuations = []
        for log_prob, tokens, hypothesis_state in alive:
            logits, after = step(tokens[-1], hypothesis_state)
            logits = np.asarray(logits, np.float64)
            log_probs = logits - logits.max()
            log_probs = log_probs - np.log(np.exp(log_probs).sum())
            for word, word_log_prob in enumerate(log_probs):
                if word not in suppressed and allowed(tokens[1:], word):
                    continuations.append((log_prob + word_log_prob, [*tokens, word], after))
        continuations.sort(key=lambda c: -c[0])
        alive = []
        for log_prob, tokens, after in continuations[: 2 * beam_size]:
            if tokens[-1] == end:
                finished.append((tokens[1:], log_prob / divisor(length)))
            elif len(alive) < beam_size:
                alive.append((log_prob, tokens, after))
        finished = sorted(finished, key=lambda f: -f[1])[:beam_size]
    unfinished = [(tokens[1:], log_prob / divisor(max_length)) for log_prob, tokens, _ in alive]
    return (finished + unfinished)[:beam_size]
