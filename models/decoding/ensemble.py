"""Several captioners that caption together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.layers.prepared_weights import LoopWeights


class Ensemble:
    """Says what the models find likely on average: the mean of their probabilities.

    Has what `models.decoding.search.decode` needs of a model; memory, state and hidden states are
    tuples with an item per model.
    """

    def __init__(self, models: Sequence[Any], inputs: Sequence[Sequence[str]]) -> None:
        """Shares no weights.

        Args:
            models: captioners of one vocabulary.
            inputs: names of what each is shown.
        """
        self.models, self._inputs = tuple(models), tuple(map(tuple, inputs))

    def encode(self, inputs: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        """What each model makes of its inputs."""
        return tuple(
            model.encode({name: inputs[name] for name in names})
            for model, names in zip(self.models, self._inputs, strict=True)
        )

    def initial_state(self, memory: tuple[Any, ...]) -> tuple[Any, ...]:
        """The states before the first word."""
        return tuple(
            model.initial_state(own) for model, own in zip(self.models, memory, strict=True)
        )

    def step(
        self, tokens: tf.Tensor, state: tuple[Any, ...], memory: tuple[Any, ...]
    ) -> tuple[tuple[tf.Tensor, ...], tuple[Any, ...]]:
        """One word on: tokens int32[N] -> hidden float[N, H] and state of each."""
        found = [
            model.step(tokens, *own) for model, *own in zip(self.models, state, memory, strict=True)
        ]
        hidden, states = zip(*found, strict=True)
        return hidden, states

    @property
    def loop_weights(self) -> list[LoopWeights]:
        """Those of all of them."""
        return [own for model in self.models for own in model.loop_weights]

    def logits(self, hidden: tuple[tf.Tensor, ...]) -> tf.Tensor:
        """Logarithm of the mean probabilities of the next word: float[N, H] of each -> [N, V]."""
        each = [
            tf.nn.log_softmax(model.logits(own))
            for model, own in zip(self.models, hidden, strict=True)
        ]
        return tf.reduce_logsumexp(tf.stack(each), axis=0) - tf.math.log(float(len(each)))
