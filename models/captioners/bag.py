"""A throw-away captioner of plain Keras layers: a GRU cell that begins with the image's vector."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.captioners.base import Captioner, Inputs
from models.captioners.registry import register_captioner


@register_captioner("bag")
class Bag(Captioner):
    """The image's vector is the first state of a GRU.

    Shapes: `global` float[B, D].
    """

    inputs = Inputs(required=("global",))

    def __init__(
        self, *, vocabulary_size: int, feature_size: int, units: int = 64, **kwargs: Any
    ) -> None:
        """Builds every weight: V, D and H."""
        super().__init__(**kwargs)
        self.sizes = vocabulary_size, feature_size
        self.units = units
        policy = self.dtype_policy
        self.embedding = keras.layers.Embedding(vocabulary_size, units, dtype=policy)
        self.image_map = keras.layers.Dense(units, activation="tanh", dtype=policy)
        self.cell = keras.layers.GRUCell(units, dtype=policy)
        self.word_output = keras.layers.Dense(vocabulary_size, dtype=policy)
        self.embedding.build((None,))
        self.image_map.build((None, feature_size))
        self.cell.build((None, units))
        self.word_output.build((None, units))
        self.built = True

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """Returns `image` float[B, H]."""
        return {"image": self.image_map(inputs["global"])}

    def initial_state(self, memory: Any, max_length: Any) -> tf.Tensor:
        """Returns float[B, H]."""
        return memory["image"]

    def step(
        self, tokens: tf.Tensor, state: tf.Tensor, memory: Any, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Takes one step."""
        hidden, (state,) = self.cell(self.embedding(tokens), [state])
        return hidden, state

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """Returns float32[N, V]."""
        return tf.cast(self.word_output(hidden), tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        vocabulary_size, feature_size = self.sizes
        return {
            **super().get_config(),
            "vocabulary_size": vocabulary_size,
            "feature_size": feature_size,
            "units": self.units,
        }
