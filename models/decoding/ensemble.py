"""Several captioners that caption together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from models.captioners.base import Captioner, Inputs, tensor_name

# One item per member.
Each = tuple[Any, ...]


@keras.saving.register_keras_serializable("r2m")
class Ensemble(Captioner):
    """Captioners whose next-word probabilities are averaged, with weights.

    Memory, state and hidden states are tuples with one item per member. There is no softmax layer:
    an ensemble searches, it is not trained.

    Example:
        ```python
        model = Ensemble(
            members=[updown, att2in2], member_inputs=[["regions", "global"], ["regions"]]
        )
        captions = decode(model, model.encode(inputs), DecodingOptions(beam_size=3))
        ```
    """

    shares_memory = True

    def __init__(
        self,
        *,
        members: Sequence[Captioner],
        member_inputs: Sequence[Sequence[str]],
        weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Wraps captioners.

        Args:
            members: captioners of one vocabulary, which share no weights.
            member_inputs: names of the tensors that each member is given.
            weights: weights of the members' probabilities, which are divided by their sum; None:
                all equal.
            **kwargs: arguments of `keras.Model` (name, dtype).
        """
        super().__init__(**kwargs)
        self.members = list(members)
        self._member_inputs = [list(names) for names in member_inputs]
        self._weights = [1.0] * len(self.members) if weights is None else list(map(float, weights))
        _check_weights(self._weights, len(self.members))
        kinds = [
            kind
            for member, names in zip(members, member_inputs, strict=True)
            for kind in member.inputs.kinds
            if tensor_name(kind) in names
        ]
        self.inputs = Inputs(required=tuple(dict.fromkeys(kinds)))
        self.built = True

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Each:
        """Returns each member's memory of its inputs."""
        return tuple(
            member.encode({name: inputs[name] for name in names}, training=training)
            for member, names in zip(self.members, self._member_inputs, strict=True)
        )

    def initial_state(self, memory: Each, max_length: int | tf.Tensor) -> Each:
        """Returns each member's state before the first word."""
        return tuple(
            member.initial_state(own, max_length)
            for member, own in zip(self.members, memory, strict=True)
        )

    def step(
        self, tokens: tf.Tensor, state: Each, memory: Each, training: bool = False
    ) -> tuple[Each, Each]:
        """Takes one step: tokens int32[N] -> hidden float[N, H] and state of each member."""
        count = tf.shape(tokens)[0]
        found = [
            member.step(tokens, own, member.expand_memory(of_images, count), training=training)
            for member, own, of_images in zip(self.members, state, memory, strict=True)
        ]
        hidden, states = zip(*found, strict=True)
        return hidden, states

    def teacher_forced(
        self,
        memory: Each,
        tokens: tf.Tensor,
        lengths: tf.Tensor | None = None,
        training: bool = False,
    ) -> Each:
        """Returns each member's hidden states float[N, T, H] for given words."""
        return tuple(
            member.teacher_forced(own, tokens, lengths, training=training)
            for member, own in zip(self.members, memory, strict=True)
        )

    def logits(self, hidden: Each) -> tf.Tensor:
        """Returns the logarithm of the mean probabilities: float[N, H] of each -> float32[N, V]."""
        total = sum(self._weights)
        each = [
            tf.nn.log_softmax(member.logits(own)) + math.log(weight / total)
            for member, own, weight in zip(self.members, hidden, self._weights, strict=True)
        ]
        return tf.reduce_logsumexp(tf.stack(each), axis=0)

    @property
    def output_layer(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Raises `ValueError`: an ensemble has one softmax layer per member."""
        raise ValueError("an ensemble has one softmax layer per member: train its members")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        members = [keras.saving.serialize_keras_object(member) for member in self.members]
        inputs = [list(names) for names in self._member_inputs]
        return {
            **super().get_config(),
            "members": members,
            "member_inputs": inputs,
            "weights": self._weights,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Ensemble:
        """Builds an ensemble from the result of `get_config`."""
        members = [
            keras.saving.deserialize_keras_object(member, custom_objects)
            for member in config["members"]
        ]
        return cls(**{**config, "members": members})


def _check_weights(weights: Sequence[float], members: int) -> None:
    """Raises ValueError unless there is one weight above 0 per member."""
    if len(weights) != members:
        raise ValueError(f"{len(weights)} weights for {members} members: give one per member")
    for weight in weights:
        if not 0 < weight < math.inf:
            raise ValueError(f"weight {weight} of a member: must be a number above 0")
