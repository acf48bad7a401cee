"""Up-down: one LSTM decides where to look, a second one what to say."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.captioners.recurrent import Memory, RecurrentCaptioner
from models.layers import attention, ops
from models.layers.attention import AdditiveAttention, torch_dense
from models.layers.cells import Cell
from models.layers.packed_steps import Linear
from models.layers.words import WordInput, WordOutput

# (h, c) of the attention LSTM, then of the language LSTM.
TwoStates = tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]


@keras.saving.register_keras_serializable("r2m")
class UpDown(RecurrentCaptioner):
    """Bottom-up and top-down attention.

    attention LSTM: x = [h_language; image; word]; rows are averaged by attention from its h;
    language LSTM: x = [average; h_attention]. Both are plain LSTMs.

    Shapes: `global` float[B, G] (by default the mean of the rows as they come, then G = D),
    `regions` float[B, L, D], `region_lengths` int32[B] (optional).
    Source: Anderson et al. 2018 (arXiv 1707.07998).
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        global_size: int | None = None,
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
            global_size: G; None is D.
            units: H.
            word_size: E.
            attention_units: A.
            dropout: rate on words, image, rows and hidden states while training.
            **kwargs: of `keras.Model`.
        """
        super().__init__(**kwargs)
        self._settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size,
            "global_size": global_size, "units": units, "word_size": word_size,
            "attention_units": attention_units, "dropout": dropout,
        }  # fmt: skip
        self.units = units
        self.word_input = WordInput(
            vocabulary_size=vocabulary_size,
            units=word_size,
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            relu=True,
            dropout=dropout,
            name="word_input",
        )
        self.global_map = torch_dense(units, global_size or feature_size, "global_map")
        self.row_map = torch_dense(units, feature_size, "row_map")
        self.global_dropout = keras.layers.Dropout(dropout, name="global_dropout")
        self.row_dropout = keras.layers.Dropout(dropout, name="row_dropout")
        self.attention = AdditiveAttention(units=attention_units, name="attention")
        self.attention.build((None, None, units), (None, units))
        # What does not recur (image and word) and what does (h_language) are maps of their own.
        self.attention_cell = Cell(kind="lstm", units=units, name="attention_cell")
        self.attention_cell.build((None, word_size))
        self.image_share, self.language_share = (
            Linear(
                4 * units,
                use_bias=False,
                kernel_initializer=keras.initializers.RandomUniform(-(units**-0.5), units**-0.5),
                name=name,
            )
            for name in ("image_share", "language_share")
        )
        self.image_share.build((None, units))
        self.language_share.build((None, units))
        self.language_cell = Cell(kind="lstm", units=units, name="language_cell")
        self.language_cell.build((None, 2 * units))
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout")
        self.word_output = WordOutput(
            vocabulary_size=vocabulary_size, units=units, name="word_output"
        )
        self.built = True

    @property
    def word_cell(self) -> Cell:
        """The attention LSTM."""
        return self.attention_cell

    @property
    def recurrent_layers(self) -> list[Linear]:
        """The layers in a step that are given float[n, I]."""
        attending = [self.language_share, self.attention_cell.recurrent_map]
        saying = [self.language_cell.input_map, self.language_cell.recurrent_map]
        return [*attending, *self.attention.recurrent_layers, *saying]

    @property
    def wide_layers(self) -> list[Linear]:
        """The layer in a step that is given float[n, L, A]."""
        return self.attention.wide_layers

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """`image` float[B, 4 * H], `rows` float[B, L, H], `projected` float[B, L, A], `mask`."""
        regions = inputs["regions"]
        whole = inputs.get("global")
        if whole is None:
            whole = attention.mean_row(regions, inputs)
        image = self.global_dropout(tf.nn.relu(self.global_map(whole)), training=training)
        rows = self.row_dropout(tf.nn.relu(self.row_map(regions)), training=training)
        memory = attention.encoded(rows, self.attention.project(rows), inputs)
        return {**memory, "image": self.image_share(image)}

    def initial_state(self, memory: Memory) -> TwoStates:
        """Zeros: (h, c) of the attention LSTM and of the language LSTM."""
        batch = tf.shape(memory["image"])[0]
        return self.attention_cell.initial_state(batch), self.language_cell.initial_state(batch)

    def advance(
        self, now: tf.Tensor, state: TwoStates, memory: Memory
    ) -> tuple[tf.Tensor, TwoStates, tf.Tensor]:
        """One step on: float[N, 4 * H], state -> hidden float[N, H], state, weights."""
        attending, saying = state
        image = memory["image"]
        now = ops.by_caption(ops.by_image(now, image) + tf.expand_dims(image, 1))
        now += self.language_share(saying[0])
        attending = self.attention_cell.step(now, attending)
        weights = self.attention(attending[0], memory["projected"], memory.get("mask"))
        context = attention.average(memory["rows"], weights)
        heard = self.language_cell.precompute(tf.concat([context, attending[0]], axis=-1))
        saying = self.language_cell.step(heard, saying)
        return saying[0], (attending, saying), weights

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._settings)
