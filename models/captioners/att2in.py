"""Att2in and att2in2: a maxout LSTM whose attention context is added to the cell candidate only."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.captioners.base import Inputs, Memory
from models.captioners.recurrent import RecurrentCaptioner
from models.captioners.registry import register_captioner
from models.layers import attention
from models.layers.attention import AdditiveAttention
from models.layers.cells import Cell, State
from models.layers.linear import torch_dense
from models.layers.words import WordInput, WordOutput


@register_captioner("att2in")
class Att2in(RecurrentCaptioner):
    """A maxout LSTM with attention, whose context vector is added to the cell candidate only.

    The previous state is the attention query. Image rows are not mapped, and words are embedded
    without ReLU or dropout. Embedding and softmax weights are initialized uniformly in +-0.1.

    Shapes: `regions` float[B, L, D], `region_lengths` int32[B] (optional).

    Example:
        ```python
        model = Att2in(vocabulary_size=9_488, feature_size=2_048)
        memory = model.encode({"regions": tf.zeros([8, 36, 2_048])})
        hidden = model.teacher_forced(memory, tf.ones([8, 17], tf.int32))
        ```

    Source: Rennie et al. 2017 (arXiv 1612.00563) and its released code.
    """

    inputs = Inputs(required=("regions",))
    has_attention = True
    # Whether rows (after a dense layer) and words (after the embedding) get ReLU and dropout.
    _maps_inputs = False

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        units: int = 512,
        word_size: int = 512,
        attention_units: int = 512,
        dropout: float = 0.5,
        **kwargs: Any,
    ) -> None:
        """Builds every weight.

        Args:
            vocabulary_size: V, markers included.
            feature_size: D.
            units: H.
            word_size: E.
            attention_units: A.
            dropout: dropout rate of words, rows (both in att2in2 only) and hidden states.
            **kwargs: arguments of `keras.Model` (name, dtype).
        """
        super().__init__(**kwargs)
        self._settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size, "units": units,
            "word_size": word_size, "attention_units": attention_units, "dropout": dropout,
        }  # fmt: skip
        maps, policy = self._maps_inputs, self.dtype_policy
        small = keras.initializers.RandomUniform(-0.1, 0.1)
        self.word_input = WordInput(
            vocabulary_size=vocabulary_size,
            units=word_size,
            initializer=keras.initializers.RandomNormal(stddev=1.0) if maps else small,
            relu=maps,
            dropout=dropout if maps else 0.0,
            name="word_input",
            dtype=policy,
        )
        row_size = units if maps else feature_size
        if maps:
            self.row_map = torch_dense(units, feature_size, "row_map", policy)
            self.row_dropout = keras.layers.Dropout(dropout, name="row_dropout", dtype=policy)
        self.row_attention = AdditiveAttention(
            units=attention_units, name="attention", dtype=policy
        )
        self.row_attention.build((None, None, row_size), (None, units))
        self.context_map = torch_dense(2 * units, row_size, "context_map", policy)
        self.cell = Cell(kind="maxout", units=units, name="cell", dtype=policy)
        self.cell.build((None, word_size))
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout", dtype=policy)
        self.word_output = WordOutput(
            vocabulary_size=vocabulary_size,
            units=units,
            initializer=None if maps else small.clone(),
            bias_initializer=None if maps else "zeros",
            name="word_output",
            dtype=policy,
        )
        self.built = True

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """Returns the image rows and their projections for the attention.

        Args:
            inputs: `regions` and, optionally, `region_lengths`.
            training: whether dropout is applied.

        Returns:
            `rows` float[B, L, H or D], `projected` float[B, L, A] and, if rows are padded, `mask`.
        """
        rows = inputs["regions"]
        if self._maps_inputs:
            rows = self.row_dropout(tf.nn.relu(self.row_map(rows)), training=training)
        return attention.attention_memory(rows, self.row_attention.project(rows), inputs)

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> State:
        """Returns (h, c), zeros float[B, H] each."""
        del max_length
        return self.cell.initial_state(tf.shape(memory["rows"])[0])

    def advance(
        self, word: tf.Tensor, state: State, memory: Memory
    ) -> tuple[tf.Tensor, State, tf.Tensor]:
        """Computes one step: float[N, 5 * H], state -> hidden float[N, H], state, weights."""
        weights = self.row_attention(state[0], memory["projected"], memory.get("mask"))
        context = self.context_map(attention.average(memory["rows"], weights))
        state = self.cell.step(word, state, context)
        return state[0], state, weights

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}


@register_captioner("att2in2")
class Att2in2(Att2in):
    """Att2in with dense layer, ReLU and dropout on the rows, and ReLU and dropout on the words.

    Weights are initialized as in PyTorch. Shapes, arguments and source are those of `Att2in`.

    Example:
        ```python
        model = Att2in2(vocabulary_size=9_488, feature_size=2_048)
        ```
    """

    _maps_inputs = True
