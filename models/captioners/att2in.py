"""Att2in and att2in2: a maxout LSTM whose candidate also hears what attention brings."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from models.captioners.recurrent import Memory, RecurrentCaptioner
from models.layers import attention
from models.layers.attention import AdditiveAttention, torch_dense
from models.layers.cells import Cell, State
from models.layers.packed_steps import Linear
from models.layers.words import WordInput, WordOutput

VARIANTS = ("att2in2", "att2in")


@keras.saving.register_keras_serializable("r2m")
class Att2in(RecurrentCaptioner):
    """Attention from the state before; its average of the rows enters the cell's candidate only.

    Shapes: `regions` float[B, L, D], `region_lengths` int32[B] (optional).

    * `att2in2`: rows and words go through a map or an embedding, ReLU and dropout first.
    * `att2in`: rows as they are, plain embedding; its weights, and those of the output, uniform in
      +-0.1.

    Source: Rennie et al. 2017 (arXiv 1612.00563) and its released code.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        variant: Literal["att2in2", "att2in"] = "att2in2",
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
            variant: `att2in2` or `att2in`.
            units: H.
            word_size: E.
            attention_units: A.
            dropout: rate on words, rows (att2in2) and hidden states while training.
            **kwargs: of `keras.Model`.

        Raises:
            ValueError: for an unknown variant.
        """
        super().__init__(**kwargs)
        if variant not in VARIANTS:
            raise ValueError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")
        self._settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size, "variant": variant,
            "units": units, "word_size": word_size, "attention_units": attention_units,
            "dropout": dropout,
        }  # fmt: skip
        self.embeds = embeds = variant == "att2in2"
        small = keras.initializers.RandomUniform(-0.1, 0.1)
        self.word_input = WordInput(
            vocabulary_size=vocabulary_size,
            units=word_size,
            initializer=keras.initializers.RandomNormal(stddev=1.0) if embeds else small,
            relu=embeds,
            dropout=dropout if embeds else 0.0,
            name="word_input",
        )
        row_size = units if embeds else feature_size
        if embeds:
            self.row_map = torch_dense(units, feature_size, "row_map")
            self.row_dropout = keras.layers.Dropout(dropout, name="row_dropout")
        self.attention = AdditiveAttention(units=attention_units, name="attention")
        self.attention.build((None, None, row_size), (None, units))
        self.context_map = torch_dense(2 * units, row_size, "context_map")
        self.cell = Cell(kind="maxout", units=units, name="cell")
        self.cell.build((None, word_size))
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout")
        self.word_output = WordOutput(
            vocabulary_size=vocabulary_size,
            units=units,
            initializer=None if embeds else small.clone(),
            bias_initializer=None if embeds else "zeros",
            name="word_output",
        )
        self.built = True

    @property
    def recurrent_layers(self) -> list[Linear]:
        """The layers in a step that are given float[n, I]."""
        return [*self.attention.recurrent_layers, self.context_map, self.cell.recurrent_map]

    @property
    def wide_layers(self) -> list[Linear]:
        """The layer in a step that is given float[n, L, A]."""
        return self.attention.wide_layers

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """`rows` float[B, L, H or D], `projected` float[B, L, A], `mask` where rows are padded."""
        rows = inputs["regions"]
        if self.embeds:
            rows = self.row_dropout(tf.nn.relu(self.row_map(rows)), training=training)
        return attention.encoded(rows, self.attention.project(rows), inputs)

    def initial_state(self, memory: Memory) -> State:
        """Two zeros float[B, H]."""
        return self.cell.initial_state(tf.shape(memory["rows"])[0])

    def advance(
        self, now: tf.Tensor, state: State, memory: Memory
    ) -> tuple[tf.Tensor, State, tf.Tensor]:
        """One step on: float[N, 5 * H], state -> hidden float[N, H], state, weights."""
        weights = self.attention(state[0], memory["projected"], memory.get("mask"))
        context = self.context_map(attention.average(memory["rows"], weights))
        state = self.cell.step(now, state, context)
        return state[0], state, weights

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._settings)
