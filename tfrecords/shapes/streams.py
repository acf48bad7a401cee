"""Random streams with the same numbers on every machine and Python version."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class Stream:
    """A stream of random choices, one per generated item.

    Only `Random.random` is used: Python guarantees only its sequence for a seed, while `choice`,
    `shuffle` and `sample` may change between versions.
    """

    def __init__(self, *key: str | int) -> None:
        """Starts the stream of a key such as `(seed, "train", 17)`."""
        self._random = random.Random("/".join(map(str, key))).random

    def uniform(self, low: float, high: float) -> float:
        """Draws a number in [low, high)."""
        return low + (high - low) * self._random()

    def chance(self, probability: float) -> bool:
        """Returns True with the given probability."""
        return self._random() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Draws one item with equal probabilities."""
        return items[int(self._random() * len(items))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """Draws one key with a probability proportional to its weight."""
        rest = self._random() * sum(weights.values())
        for key, weight in weights.items():
            rest -= weight
            if rest < 0:
                return key
        return next(reversed(list(weights)))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Returns the items in random order."""
        mixed = list(items)
        for last in range(len(mixed) - 1, 0, -1):
            other = int(self._random() * (last + 1))
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed
