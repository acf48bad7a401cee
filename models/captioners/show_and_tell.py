"""RNN, LSTM and attention LSTM over a grid of image features.

Sources: Vinyals et al. 2015 (show and tell), Xu et al. 2015 (show, attend and tell), as taught with
scaled dot-product attention in the EECS 498 course.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from models.captioners.recurrent import Memory, RecurrentCaptioner
from models.layers import attention, cudnn_lstm, ops
from models.layers.attention import torch_dense
from models.layers.cells import Cell, CellKind, State
from models.layers.packed_steps import Linear
from models.layers.words import WordInput, WordOutput

KINDS = ("rnn", "lstm", "attention_lstm")
POOLS = ("flatten", "average")


@keras.saving.register_keras_serializable("r2m")
class ShowAndTell(RecurrentCaptioner):
    """A grid of features, one recurrent cell, and perhaps attention from the state before.

    Shapes: `regions` float[B, L, D] are the cells of the grid.

    * `rnn`, `lstm`: h0 = W grid + b, the grid flattened or averaged; c0 = 0.
    * `attention_lstm`: A = W_a grid + b_a [B, L, H]; h0 = c0 = mean of A. Each step first looks:
      w = softmax(A h / sqrt(H)), and W_v (A w) is added to the sums of the cell.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        grid_cells: int,
        kind: Literal["rnn", "lstm", "attention_lstm"] = "attention_lstm",
        units: int = 512,
        word_size: int = 256,
        pool: Literal["flatten", "average"] | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Builds every weight.

        Args:
            vocabulary_size: V, markers included.
            feature_size: D.
            grid_cells: L.
            kind: `rnn`, `lstm` or `attention_lstm`.
            units: H.
            word_size: E, of the word embedding.
            pool: how the grid becomes the initial state of `rnn` and `lstm`; None averages it.
            dropout: rate on words, projected grid and hidden states while training.
            **kwargs: of `keras.Model`.

        Raises:
            ValueError: for an unknown kind or pool, or a pool of `attention_lstm`.
        """
        super().__init__(**kwargs)
        for name, value, known in (("kind", kind, KINDS), ("pool", pool or "average", POOLS)):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
        if pool is not None and kind == "attention_lstm":
            raise ValueError(
                f"pool={pool!r} is of rnn and lstm only: attention_lstm starts from the mean of "
                "its projected grid; leave it out"
            )
        self._settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size,
            "grid_cells": grid_cells, "kind": kind, "units": units, "word_size": word_size,
            "pool": pool, "dropout": dropout,
        }  # fmt: skip
        self.pool = pool
        normal = keras.initializers.RandomNormal
        self.word_input = WordInput(
            vocabulary_size=vocabulary_size,
            units=word_size,
            initializer=normal(stddev=vocabulary_size**-0.5),
            dropout=dropout,
            name="word_input",
        )
        cell: CellKind = "rnn" if kind == "rnn" else "lstm"
        self.cell = Cell(
            kind=cell,
            units=units,
            input_initializer=normal(stddev=word_size**-0.5),
            recurrent_initializer=normal(stddev=units**-0.5),
            bias_initializer="zeros",
            recurrent_bias=False,
            name="cell",
        )
        self.cell.build((None, word_size))
        self._twin = None
        if kind == "lstm" and tf.config.list_physical_devices("GPU"):
            self._twin = cudnn_lstm.keras_twin(self.cell, word_size)
        self.grid_dropout = keras.layers.Dropout(dropout, name="grid_dropout")
        self.context_map: Linear | None = None
        if kind == "attention_lstm":
            self.grid_map = torch_dense(units, feature_size, "grid_map")
            self.context_map = Linear(
                4 * units,
                use_bias=False,
                kernel_initializer=normal(stddev=units**-0.5),
                name="context_map",
            )
            self.context_map.build((None, units))
        else:
            flat = feature_size * grid_cells if pool == "flatten" else feature_size
            self.state_map = torch_dense(units, flat, "state_map")
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout")
        self.word_output = WordOutput(
            vocabulary_size=vocabulary_size, units=units, name="word_output"
        )
        self.built = True

    @property
    def recurrent_layers(self) -> list[Linear]:
        """The layers in a step."""
        maps = [] if self.context_map is None else [self.context_map]
        return [self.cell.recurrent_map, *maps]

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """`regions` float[B, L, D] -> `rows` float[B, L, H] for attention, `start` float[B, H]."""
        grid = inputs["regions"]
        if self.context_map is not None:
            rows = self.grid_dropout(self.grid_map(grid), training=training)
            return {"rows": rows, "start": tf.reduce_mean(rows, axis=1)}
        if self.pool == "flatten":
            flat = tf.reshape(grid, [tf.shape(grid)[0], grid.shape[1] * grid.shape[2]])
        else:
            flat = tf.reduce_mean(grid, axis=1)
        return {"start": self.state_map(self.grid_dropout(flat, training=training))}

    def initial_state(self, memory: Memory) -> State:
        """(h0) or (h0, c0), float[B, H]."""
        start = memory["start"]
        if self.cell.kind == "rnn":
            return (start,)
        return start, start if self.context_map is not None else tf.zeros_like(start)

    def teacher_forced(
        self,
        memory: Memory,
        tokens: tf.Tensor,
        training: bool = False,
        lengths: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """As of `RecurrentCaptioner`; a plain LSTM takes all steps at once on a GPU."""
        if self._twin is None:
            return super().teacher_forced(memory, tokens, training=training, lengths=lengths)
        count, steps = tf.unstack(tf.shape(tokens))
        lengths = tf.fill([count], steps) if lengths is None else lengths
        words = self.word_input(tokens, training=training)
        state = self.initial_state(ops.per_caption(memory, count))
        hidden = cudnn_lstm.all_steps(self._twin, self.cell, words, state, lengths)
        return self.output_dropout(hidden, training=training)

    def advance(
        self, now: tf.Tensor, state: State, memory: Memory
    ) -> tuple[tf.Tensor, State, tf.Tensor | None]:
        """One step on: float[N, blocks * H], state -> hidden float[N, H], state, weights."""
        weights = None
        if self.context_map is not None:
            weights = attention.scaled_dot(state[0], memory["rows"])
            now += self.context_map(attention.average(memory["rows"], weights))
        state = self.cell.step(now, state)
        return state[0], state, weights

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._settings)
