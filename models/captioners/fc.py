"""FC: a maxout LSTM whose first input is the image vector."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.captioners.base import Inputs, Memory
from models.captioners.recurrent import RecurrentCaptioner
from models.captioners.registry import register_captioner
from models.layers.cells import Cell, State
from models.layers.linear import torch_dense
from models.layers.words import WordInput, WordOutput


@register_captioner("fc")
class FC(RecurrentCaptioner):
    """A maxout LSTM whose first input is the image vector, followed by the words.

    The output of the first step is discarded.

    Shapes: `global` float[B, D].

    Example:
        ```python
        model = FC(vocabulary_size=9_488, feature_size=2_048)
        memory = model.encode({"global": tf.zeros([8, 2_048])})
        hidden = model.teacher_forced(memory, tf.ones([8, 17], tf.int32))
        ```

    Source: Rennie et al. 2017 (arXiv 1612.00563), FC model.
    """

    inputs = Inputs(required=("global",))

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
            word_size: E, size of the word embedding and of the mapped image vector.
            dropout: dropout rate of the hidden states.
            **kwargs: arguments of `keras.Model` (name, dtype).
        """
        super().__init__(**kwargs)
        self._settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size, "units": units,
            "word_size": word_size, "dropout": dropout,
        }  # fmt: skip
        policy = self.dtype_policy
        uniform = keras.initializers.RandomUniform(-0.1, 0.1)
        self.word_input = WordInput(
            vocabulary_size=vocabulary_size,
            units=word_size,
            initializer=uniform,
            name="word_input",
            dtype=policy,
        )
        self.image_map = torch_dense(word_size, feature_size, "image_map", policy)
        self.cell = Cell(kind="maxout", units=units, name="cell", dtype=policy)
        self.cell.build((None, word_size))
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout", dtype=policy)
        self.word_output = WordOutput(
            vocabulary_size=vocabulary_size,
            units=units,
            initializer=uniform.clone(),
            bias_initializer="zeros",
            name="word_output",
            dtype=policy,
        )
        self.built = True

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """Returns the product of the cell's input weights with the image: `image` float[B, 5 * H].

        Args:
            inputs: `global` float[B, D].
            training: unused; the image has no dropout.
        """
        del training
        return {"image": self.precompute(self.image_map(inputs["global"]))}

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> State:
        """Returns (h, c) after the step of the image, float[B, H] each."""
        del max_length
        image = memory["image"]
        return self.cell.step(image, self.cell.initial_state(tf.shape(image)[0]))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}
