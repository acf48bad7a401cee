"""Ensemble of captioners."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from models.captioners.base import Captioner, Inputs, tensor_name

# One item per member.
PerMember = tuple[Any, ...]


@keras.saving.register_keras_serializable("r2m")
class Ensemble(Captioner):
    """Weighted average of the next-word probabilities of several captioners.

    Memory, state and hidden states are tuples with one item per member. An ensemble has no softmax
    layer, so it can decode captions but cannot be trained.

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
            members: captioners with the same vocabulary and without shared weights.
            member_inputs: names of the input tensors of each member.
            weights: weights of the members' probabilities, normalized by their sum; None for equal
                weights.
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

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> PerMember:
        """Returns each member's memory for its inputs."""
        return tuple(
            member.encode({name: inputs[name] for name in names}, training=training)
            for member, names in zip(self.members, self._member_inputs, strict=True)
        )

    def initial_state(self, memory: PerMember, max_length: int | tf.Tensor) -> PerMember:
        """Returns each member's state before the first word."""
        return tuple(
            member.initial_state(own, max_length)
            for member, own in zip(self.members, memory, strict=True)
        )

    def step(
        self, tokens: tf.Tensor, state: PerMember, memory: PerMember, training: bool = False
    ) -> tuple[PerMember, PerMember]:
        """Computes one step: tokens int32[N] -> hidden float[N, H] and state of each member."""
        count = tf.shape(tokens)[0]
        found = [
            member.step(tokens, own, member.expand_memory(of_images, count), training=training)
            for member, own, of_images in zip(self.members, state, memory, strict=True)
        ]
        hidden, states = zip(*found, strict=True)
        return hidden, states

    def teacher_forced(
        self,
        memory: PerMember,
        tokens: tf.Tensor,
        lengths: tf.Tensor | None = None,
        training: bool = False,
    ) -> PerMember:
        """Returns each member's hidden states float[N, T, H] for given words."""
        return tuple(
            member.teacher_forced(own, tokens, lengths, training=training)
            for member, own in zip(self.members, memory, strict=True)
        )

    def logits(self, hidden: PerMember) -> tf.Tensor:
        """Returns the log of the mean probabilities: float[N, H] per member -> float32[N, V]."""
        total = sum(self._weights)
        each = [
            tf.nn.log_softmax(member.logits(own)) + math.log(weight / total)
            for member, own, weight in zip(self.members, hidden, self._weights, strict=True)
        ]
        return tf.reduce_logsumexp(tf.stack(each), axis=0)

    @property
    def output_layer(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Raises `ValueError`: an ensemble has one softmax layer per member."""
        raise ValueError(
            "an ensemble has no softmax layer and cannot be trained; train its members instead"
        )

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
    """Raises ValueError unless each member has a weight above 0."""
    if len(weights) != members:
        raise ValueError(f"found {len(weights)} weights for {members} members: give one per member")
    for weight in weights:
        if not 0 < weight < math.inf:
            raise ValueError(f"the weight of a member must be a number above 0, found {weight}")
