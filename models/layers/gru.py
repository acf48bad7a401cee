"""GRU over packed sequences of different lengths, without padded positions."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from models.layers import packed_steps
from models.layers.cells import Cell
from models.layers.packed_steps import Packing

GRUWeights = Literal["torch", "kiros"]
# Bound of the uniform weights of the visual-semantic embedding's released code.
KIROS_BOUND = 0.1


@keras.saving.register_keras_serializable("r2m")
class PackedGRU(keras.layers.Layer):
    """One or more GRU layers, unidirectional or bidirectional.

    Inner layers concatenate the outputs of the two directions; the last layer averages them.

    Shapes: real positions float[N, F] of B sequences, in the order of a `Packing` -> float[N,
    units].

    Example:
        ```python
        gru = PackedGRU(units=1024, bidirectional=True)
        gru.build((None, 300))
        packing = packed_steps.pack(lengths, steps)
        outputs = gru(tf.gather_nd(words, packing.indices), packing, lengths)
        ```

    Source: Cho et al. 2014; averaged directions: Lee et al. 2018, section 3.1.
    """

    def __init__(
        self,
        *,
        units: int,
        layers: int = 1,
        bidirectional: bool = False,
        weights: GRUWeights = "torch",
        **kwargs: Any,
    ) -> None:
        """Builds nothing yet.

        Args:
            units: H.
            layers: number of layers.
            bidirectional: whether each layer also reads sequences in reverse order.
            weights: initial weights. `torch`: uniform in +-1/sqrt(H), with two biases. `kiros`:
                input weights uniform in +-0.1, orthogonal recurrent weights, and one bias of zeros.
            **kwargs: arguments of `keras.layers.Layer`.

        Raises:
            ValueError: unknown initial weights.
        """
        super().__init__(**kwargs)
        if weights not in ("torch", "kiros"):
            raise ValueError(f"unknown weights {weights!r}; known: torch, kiros")
        self.units, self.layers, self.bidirectional = units, layers, bidirectional
        self._weights = weights

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the cells for inputs float[N, F]."""
        size = input_shape[-1]
        self.cells: list[Cell] = []
        self.backward_cells: list[Cell] = []
        for layer in range(self.layers):
            both = {"forward": self.cells, "backward": self.backward_cells}
            for direction, cells in both.items():
                if direction == "forward" or self.bidirectional:
                    cell = self._cell(f"{direction}_{layer}")
                    cell.build((None, size))
                    cells.append(cell)
            size = self.units * (1 + self.bidirectional)

    def _cell(self, name: str) -> Cell:
        initial: dict[str, Any] = {}
        if self._weights == "kiros":
            initial = {
                "input_initializer": keras.initializers.RandomUniform(-KIROS_BOUND, KIROS_BOUND),
                "recurrent_initializer": OrthogonalBlocks(),
                "bias_initializer": "zeros",
                "recurrent_bias": False,
            }
        return Cell(kind="gru", units=self.units, name=name, dtype=self.dtype_policy, **initial)

    def call(self, inputs: tf.Tensor, packing: Packing, lengths: tf.Tensor) -> tf.Tensor:
        """Runs all layers.

        Args:
            inputs: float[N, F], real positions in the packing's order.
            packing: packing of the sequences.
            lengths: int32[B], lengths of the sequences, at least 1 each.

        Returns:
            float[N, units], in the same order.
        """
        if not self.bidirectional:
            for cell in self.cells:
                inputs = _run(cell, inputs, packing)
            return inputs
        mirror = packed_steps.reversed_positions(packing, lengths)
        for number, (cell, backward) in enumerate(
            zip(self.cells, self.backward_cells, strict=True)
        ):
            ahead = _run(cell, inputs, packing)
            behind = _mirrored(_run(backward, _mirrored(inputs, mirror), packing), mirror)
            last = number == self.layers - 1
            inputs = (ahead + behind) / 2 if last else tf.concat([ahead, behind], axis=-1)
        return inputs

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "layers": self.layers,
            "bidirectional": self.bidirectional,
            "weights": self._weights,
        }


def _run(cell: Cell, inputs: tf.Tensor, packing: Packing) -> tf.Tensor:
    def step(now: tf.Tensor, state: Any, memory: Any) -> tuple[tf.Tensor, Any]:
        del memory
        state = cell.step(now, state)
        return state[0], state

    state = cell.initial_state(tf.size(packing.order))
    return packed_steps.run(step, cell.precompute(inputs), state, (), packing=packing)


@tf.custom_gradient
def _mirrored(x: tf.Tensor, mirror: tf.Tensor) -> Any:
    """Permutes x float[N, F] by `mirror` int32[N], a permutation that is its own inverse."""
    return tf.gather(x, mirror), lambda upstream: (tf.gather(upstream, mirror), None)


@keras.saving.register_keras_serializable("r2m")
class OrthogonalBlocks(keras.initializers.Initializer):
    """Initializer of n concatenated orthogonal square matrices: float[H, n * H]."""

    def __call__(self, shape: Any, dtype: Any = None) -> tf.Tensor:
        """Returns the matrices; raises ValueError if the columns are not a multiple of the rows."""
        rows, columns = shape
        if columns % rows:
            raise ValueError(
                f"found {columns} columns; expected a multiple of the number of rows, {rows}"
            )
        # Each initializer draws its own seed when it is constructed.
        blocks = [keras.initializers.Orthogonal() for _ in range(columns // rows)]
        return tf.concat([block((rows, rows), dtype) for block in blocks], axis=1)

    def clone(self) -> OrthogonalBlocks:
        """Returns a new initializer, which draws different numbers."""
        return OrthogonalBlocks()

    def get_config(self) -> dict[str, Any]:
        """Returns no arguments."""
        return {}
