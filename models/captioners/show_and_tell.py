"""RNN, LSTM and attention LSTM over a grid of image features.

Sources: Vinyals et al. 2015 (show and tell) and Xu et al. 2015 (show, attend and tell), in the
variants of the EECS 498 course, which uses scaled dot-product attention.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from models.captioners.base import Inputs, Memory
from models.captioners.recurrent import RecurrentCaptioner
from models.captioners.registry import register_captioner
from models.layers import attention
from models.layers.cells import Cell, CellKind, State
from models.layers.linear import Linear, torch_dense
from models.layers.words import WordInput, WordOutput

POOLS = ("flatten", "average")


class _GridCaptioner(RecurrentCaptioner):
    """Base of captioners of a grid: one recurrent cell and the softmax layer.

    Subclasses build the dense layers of the grid in `_build_grid_maps`.
    """

    inputs = Inputs(required=("grid",))
    _cell_kind: CellKind = "lstm"

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        grid_cells: int,
        units: int,
        word_size: int,
        dropout: float,
        pool: Literal["flatten", "average"] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pool is not None and pool not in POOLS:
            raise ValueError(f"unknown pool {pool!r}; known: {', '.join(POOLS)}")
        self._settings: dict[str, Any] = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size,
            "grid_cells": grid_cells, "units": units, "word_size": word_size, "dropout": dropout,
        }  # fmt: skip
        self.pool = pool
        policy = self.dtype_policy
        normal = keras.initializers.RandomNormal
        self.word_input = WordInput(
            vocabulary_size=vocabulary_size,
            units=word_size,
            initializer=normal(stddev=vocabulary_size**-0.5),
            dropout=dropout,
            name="word_input",
            dtype=policy,
        )
        self.cell = Cell(
            kind=self._cell_kind,
            units=units,
            input_initializer=normal(stddev=word_size**-0.5),
            recurrent_initializer=normal(stddev=units**-0.5),
            bias_initializer="zeros",
            recurrent_bias=False,
            name="cell",
            dtype=policy,
        )
        self.cell.build((None, word_size))
        self.grid_dropout = keras.layers.Dropout(dropout, name="grid_dropout", dtype=policy)
        self._build_grid_maps(units, feature_size, grid_cells)
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout", dtype=policy)
        self.word_output = WordOutput(
            vocabulary_size=vocabulary_size, units=units, name="word_output", dtype=policy
        )
        self.built = True

    def _build_grid_maps(self, units: int, feature_size: int, grid_cells: int) -> None:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}


@register_captioner("lstm")
class LSTM(_GridCaptioner):
    """An LSTM with h0 = W grid + b, for the pooled or flattened grid, and c0 = 0.

    Shapes: `regions` float[B, L, D], the cells of the grid.

    Example:
        ```python
        model = LSTM(vocabulary_size=1_004, feature_size=1_280, grid_cells=16)
        memory = model.encode({"regions": tf.zeros([8, 16, 1_280])})
        hidden = model.teacher_forced(memory, tf.ones([8, 17], tf.int32))
        ```

    Source: Vinyals et al. 2015.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        grid_cells: int,
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
            units: H.
            word_size: E, size of the word embedding.
            pool: pooling of the grid for the initial state, `flatten` or `average`; None is
                `average`.
            dropout: dropout rate of words, grid and hidden states.
            **kwargs: arguments of `keras.Model` (name, dtype).

        Raises:
            ValueError: an unknown pool.
        """
        super().__init__(
            vocabulary_size=vocabulary_size, feature_size=feature_size, grid_cells=grid_cells,
            units=units, word_size=word_size, dropout=dropout, pool=pool, **kwargs,
        )  # fmt: skip
        self._settings["pool"] = pool

    def _build_grid_maps(self, units: int, feature_size: int, grid_cells: int) -> None:
        size = feature_size * grid_cells if self.pool == "flatten" else feature_size
        self.state_map = torch_dense(units, size, "state_map", self.dtype_policy)

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """Maps the grid `regions` float[B, L, D] to `start` float[B, H]."""
        grid = inputs["regions"]
        if self.pool == "flatten":
            pooled = tf.reshape(grid, [tf.shape(grid)[0], grid.shape[1] * grid.shape[2]])
        else:
            pooled = tf.reduce_mean(grid, axis=1)
        return {"start": self.state_map(self.grid_dropout(pooled, training=training))}

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> State:
        """Returns (h0, c0), float[B, H] each."""
        del max_length
        return memory["start"], tf.zeros_like(memory["start"])


@register_captioner("rnn")
class RNN(LSTM):
    """A plain (tanh) RNN with h0 = W grid + b, for the pooled or flattened grid.

    Shapes and arguments are those of `LSTM`.

    Example:
        ```python
        model = RNN(vocabulary_size=1_004, feature_size=1_280, grid_cells=16, pool="flatten")
        ```

    Source: EECS 498 course.
    """

    _cell_kind = "rnn"

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> State:
        """Returns (h0), float[B, H]."""
        del max_length
        return (memory["start"],)


@register_captioner("attention_lstm")
class AttentionLSTM(_GridCaptioner):
    """An LSTM with scaled dot-product attention over the grid; the previous state is the query.

    A = W_a grid + b_a [B, L, H]; h0 = c0 = mean of A. In each step w = softmax(A h / sqrt(H)), and
    W_v (A w) is added to the pre-activations of the cell.

    Shapes: `regions` float[B, L, D], the cells of the grid.

    Example:
        ```python
        model = AttentionLSTM(vocabulary_size=1_004, feature_size=1_280, grid_cells=16)
        memory = model.encode({"regions": tf.zeros([8, 16, 1_280])})
        weights = model.attention(memory, tf.ones([8, 17], tf.int32))
        ```

    Source: Xu et al. 2015, EECS 498 course.
    """

    has_attention = True

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        grid_cells: int,
        units: int = 512,
        word_size: int = 256,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Builds every weight.

        Args:
            vocabulary_size: V, markers included.
            feature_size: D.
            grid_cells: L.
            units: H.
            word_size: E, size of the word embedding.
            dropout: dropout rate of words, projected grid and hidden states.
            **kwargs: arguments of `keras.Model` (name, dtype).
        """
        super().__init__(
            vocabulary_size=vocabulary_size, feature_size=feature_size, grid_cells=grid_cells,
            units=units, word_size=word_size, dropout=dropout, **kwargs,
        )  # fmt: skip

    def _build_grid_maps(self, units: int, feature_size: int, grid_cells: int) -> None:
        del grid_cells
        self.grid_map = torch_dense(units, feature_size, "grid_map", self.dtype_policy)
        self.context_map = Linear(
            4 * units,
            use_bias=False,
            kernel_initializer=keras.initializers.RandomNormal(stddev=units**-0.5),
            name="context_map",
            dtype=self.dtype_policy,
        )
        self.context_map.build((None, units))

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """Maps the grid `regions` float[B, L, D] to `rows` float[B, L, H] and mean `start`."""
        rows = self.grid_dropout(self.grid_map(inputs["regions"]), training=training)
        return {"rows": rows, "start": tf.reduce_mean(rows, axis=1)}

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> State:
        """Returns (h0, c0), float[B, H] each."""
        del max_length
        return memory["start"], memory["start"]

    def advance(
        self, word: tf.Tensor, state: State, memory: Memory
    ) -> tuple[tf.Tensor, State, tf.Tensor]:
        """Computes one step: float[N, 4 * H], state -> hidden float[N, H], state, weights."""
        weights = attention.scaled_dot(state[0], memory["rows"])
        word += self.context_map(attention.average(memory["rows"], weights))
        state = self.cell.step(word, state)
        return state[0], state, weights
