"""FC: one vector of the image goes through a maxout LSTM before the first word."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.captioners.recurrent import Memory, RecurrentCaptioner
from models.layers import attention
from models.layers.attention import torch_dense
from models.layers.cells import Cell, State
from models.layers.packed_steps import Linear
from models.layers.words import WordInput, WordOutput


@keras.saving.register_keras_serializable("r2m")
class FC(RecurrentCaptioner):
    """The image's vector is the first input of the LSTM; what it says to that is not heard.

    Shapes: `global` float[B, D] or, for their mean, `regions` float[B, L, D] and perhaps
    `region_lengths` int32[B]. Source: Rennie et al. 2017 (arXiv 1612.00563), FC model.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        units: int = 512,
        word_size: int = 512,
        dropout: float = 0.5,
        **kwargs: Any,
    ) -> None:
        """Builds every weight.

        Args:
            vocabulary_size: V, markers included.
            feature_size: D.
            units: H.
            word_size: E, of words and image.
            dropout: rate on the hidden states while training.
            **kwargs: of `keras.Model`.
        """
        super().__init__(**kwargs)
        self._settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size, "units": units,
            "word_size": word_size, "dropout": dropout,
        }  # fmt: skip
        uniform = keras.initializers.RandomUniform(-0.1, 0.1)
        self.word_input = WordInput(
            vocabulary_size=vocabulary_size, units=word_size, initializer=uniform, name="word_input"
        )
        self.image_map = torch_dense(word_size, feature_size, "image_map")
        self.cell = Cell(kind="maxout", units=units, name="cell")
        self.cell.build((None, word_size))
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout")
        self.word_output = WordOutput(
            vocabulary_size=vocabulary_size,
            units=units,
            initializer=uniform.clone(),
            bias_initializer="zeros",
            name="word_output",
        )
        self.built = True

    @property
    def recurrent_layers(self) -> list[Linear]:
        """The layer in a step."""
        return [self.cell.recurrent_map]

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """The image's share of the cell's sums: `image` float[B, 5 * H]."""
        del training
        whole = inputs.get("global")
        if whole is None:
            whole = attention.mean_row(inputs["regions"], inputs)
        return {"image": self.cell.precompute(self.image_map(whole))}

    def initial_state(self, memory: Memory) -> State:
        """(h, c) after the image."""
        image = memory["image"]
        return self.cell.step(image, self.cell.initial_state(tf.shape(image)[0]))

    def advance(
        self, now: tf.Tensor, state: State, memory: Memory
    ) -> tuple[tf.Tensor, State, None]:
        """One step on: float[N, 5 * H], state -> hidden float[N, H], state, None."""
        del memory
        state = self.cell.step(now, state)
        return state[0], state, None

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._settings)
