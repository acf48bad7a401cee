"""Up-down: an attention LSTM over regions, and a language LSTM that predicts the words."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.captioners.base import Inputs, Memory
from models.captioners.recurrent import RecurrentCaptioner
from models.captioners.registry import register_captioner
from models.layers import attention, image_rows
from models.layers.attention import AdditiveAttention
from models.layers.cells import Cell
from models.layers.linear import Linear, torch_dense
from models.layers.words import WordInput, WordOutput

# (h, c) of the attention LSTM, then of the language LSTM.
TwoStates = tuple[tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]


@register_captioner("updown")
class UpDown(RecurrentCaptioner):
    """Bottom-up and top-down attention.

    The input of the attention LSTM is [h_language; image; word]; its h is the query of the
    attention over the rows. The input of the language LSTM is [average of the rows; h_attention].
    Both are plain LSTMs.

    Shapes: `regions` float[B, L, D], `region_lengths` int32[B] (optional), `global` float[B, G]
    (optional; by default the mean of the rows, with G = D).

    Example:
        ```python
        model = UpDown(vocabulary_size=9_488, feature_size=2_048, units=1_000, word_size=1_000)
        memory = model.encode({"regions": tf.zeros([8, 36, 2_048])})
        hidden = model.teacher_forced(memory, tf.ones([8, 17], tf.int32))
        ```

    Source: Anderson et al. 2018 (arXiv 1707.07998).
    """

    inputs = Inputs(required=("regions",), optional=("global",))
    has_attention = True

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
            global_size: G; None for G = D.
            units: H.
            word_size: E.
            attention_units: A.
            dropout: dropout rate of words, image, rows and hidden states.
            **kwargs: arguments of `keras.Model` (name, dtype).
        """
        super().__init__(**kwargs)
        self._settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size,
            "global_size": global_size, "units": units, "word_size": word_size,
            "attention_units": attention_units, "dropout": dropout,
        }  # fmt: skip
        policy = self.dtype_policy
        self.word_input = WordInput(
            vocabulary_size=vocabulary_size,
            units=word_size,
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            relu=True,
            dropout=dropout,
            name="word_input",
            dtype=policy,
        )
        self.global_map = torch_dense(units, global_size or feature_size, "global_map", policy)
        self.row_map = torch_dense(units, feature_size, "row_map", policy)
        self.global_dropout = keras.layers.Dropout(dropout, name="global_dropout", dtype=policy)
        self.row_dropout = keras.layers.Dropout(dropout, name="row_dropout", dtype=policy)
        self.row_attention = AdditiveAttention(
            units=attention_units, name="attention", dtype=policy
        )
        self.row_attention.build((None, None, units), (None, units))
        # The product with the input is split into one layer per part: those of image and word do
        # not depend on the state and are computed before the loop; that of h_language does.
        self.attention_cell = Cell(kind="lstm", units=units, name="attention_cell", dtype=policy)
        self.attention_cell.build((None, word_size))
        self.image_share, self.language_share = (
            Linear(
                4 * units,
                use_bias=False,
                kernel_initializer=keras.initializers.RandomUniform(-(units**-0.5), units**-0.5),
                name=name,
                dtype=policy,
            )
            for name in ("image_share", "language_share")
        )
        self.image_share.build((None, units))
        self.language_share.build((None, units))
        self.language_cell = Cell(kind="lstm", units=units, name="language_cell", dtype=policy)
        self.language_cell.build((None, 2 * units))
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout", dtype=policy)
        self.word_output = WordOutput(
            vocabulary_size=vocabulary_size, units=units, name="word_output", dtype=policy
        )
        self.built = True

    def precompute(self, words: tf.Tensor) -> tf.Tensor:
        """Returns the attention LSTM's product with words: float[..., E] -> float[..., 4 * H]."""
        return self.attention_cell.precompute(words)

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """Returns the tensors of the images that the steps read.

        Args:
            inputs: `regions` and, optionally, `region_lengths` and `global`.
            training: whether dropout is applied.

        Returns:
            `rows` float[B, L, H], `projected` float[B, L, A], `image` float[B, 4 * H] and, if rows
            are padded, `mask` float32[B, L].
        """
        regions = inputs["regions"]
        vector = inputs.get("global")
        if vector is None:
            vector = attention.mean_row(regions, inputs)
        image = self.global_dropout(tf.nn.relu(self.global_map(vector)), training=training)
        rows = self.row_dropout(tf.nn.relu(self.row_map(regions)), training=training)
        memory = attention.attention_memory(rows, self.row_attention.project(rows), inputs)
        return {**memory, "image": self.image_share(image)}

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> TwoStates:
        """Returns zeros: (h, c) of the attention LSTM and of the language LSTM."""
        del max_length
        batch = tf.shape(memory["image"])[0]
        return self.attention_cell.initial_state(batch), self.language_cell.initial_state(batch)

    def advance(
        self, word: tf.Tensor, state: TwoStates, memory: Memory
    ) -> tuple[tf.Tensor, TwoStates, tf.Tensor]:
        """Computes one step: float[N, 4 * H], state -> hidden float[N, H], state, weights."""
        attention_state, language_state = state
        sums = image_rows.add(word, memory["image"]) + self.language_share(language_state[0])
        attention_state = self.attention_cell.step(sums, attention_state)
        weights = self.row_attention(attention_state[0], memory["projected"], memory.get("mask"))
        context = attention.average(memory["rows"], weights)
        x = tf.concat([context, attention_state[0]], axis=-1)
        language_state = self.language_cell.step(self.language_cell.precompute(x), language_state)
        return language_state[0], (attention_state, language_state), weights

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}
