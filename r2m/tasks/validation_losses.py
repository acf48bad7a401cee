"""Loss of a stage on its validation batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from r2m.engine.stage import LossTerm

Loss = Callable[[Any, bool], dict[str, LossTerm]]


class ValidationLosses:
    """Computes the loss on all validation batches, at every call of `evaluate`."""

    def __init__(self, sources: Mapping[str, tf.data.Dataset], loss: Loss) -> None:
        """Stores the arguments; programs are compiled when they are first used.

        Args:
            sources: name of a source -> finite dataset of its batches.
            loss: function of ({source: batch}, training) that returns the terms of the objective
                for this source.
        """
        self._sources = dict(sources)
        # One program for all batches of a source.
        self._terms = {
            source: tf.function(
                lambda batch, source=source: loss({source: batch}, False),
                autograph=False,
                input_signature=[batches.element_spec],
            )
            for source, batches in self._sources.items()
        }

    def evaluate(self) -> dict[str, float]:
        """Computes the means of the terms by name and their weighted sum, `loss`."""
        sums: dict[str, list[float]] = {}
        # One source after the other: zipping would truncate the longer one.
        for source, batches in self._sources.items():
            for batch in batches:
                for name, term in self._terms[source](batch).items():
                    total = sums.setdefault(name, [0.0, 0.0, float(term.weight)])
                    total[0] += float(term.total)
                    total[1] += float(term.normalizer)
        losses = {name: total / max(count, 1.0) for name, (total, count, _) in sums.items()}
        if not losses:
            return {}
        return {"loss": sum(losses[name] * sums[name][2] for name in losses), **losses}

    def first_batch(self) -> Any:
        """Returns the first batch of the first source; None without any."""
        for batches in self._sources.values():
            for batch in batches.take(1):
                return batch
        return None
