"""Recurrent cells: the plain one, the LSTM and the maxout LSTM.

What a cell takes from its input is a matrix product, which `precompute` does for all steps at once;
only the product with the state is left for `step`.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from models.layers.packed_steps import Linear

CellKind = Literal["rnn", "lstm", "maxout"]
State = tuple[tf.Tensor, ...]

# Blocks of `units` in the products: what the cell makes of each, see `Cell`.
_BLOCKS: dict[str, int] = {"rnn": 1, "lstm": 4, "maxout": 5}


def rnn_step(sums: tf.Tensor) -> State:
    """h = tanh(a): sums a float[B, H] -> the state (h)."""
    return (tf.tanh(sums),)


def lstm_step(sums: tf.Tensor, cell: tf.Tensor) -> State:
    """i, f, o = sigmoid, g = tanh of the four blocks; c' = f c + i g; h = o tanh(c').

    Args:
        sums: float[B, 4 * H], blocks in the order i, f, o, g.
        cell: c float[B, H].

    Returns:
        The state (h, c'), float[B, H] each.
    """
    gates, candidate = tf.split(sums, [3 * cell.shape[-1], cell.shape[-1]], axis=-1)
    return _gated(gates, tf.tanh(candidate), cell)


def maxout_step(sums: tf.Tensor, cell: tf.Tensor, attended: tf.Tensor | None = None) -> State:
    """As the LSTM, but the candidate is the larger of two blocks, without tanh.

    Args:
        sums: float[B, 5 * H], blocks in the order i, f, o and the two of the candidate.
        cell: c float[B, H].
        attended: float[B, 2 * H], added to the two blocks of the candidate (att2in).

    Returns:
        The state (h, c'), float[B, H] each. Source: Rennie et al. 2017 (arXiv 1612.00563).
    """
    size = cell.shape[-1]
    gates, candidates = tf.split(sums, [3 * size, 2 * size], axis=-1)
    if attended is not None:
        candidates += attended
    return _gated(gates, tf.maximum(*tf.split(candidates, 2, axis=-1)), cell)


def _gated(gates: tf.Tensor, candidate: tf.Tensor, cell: tf.Tensor) -> State:
    input_gate, forget_gate, output_gate = tf.split(tf.sigmoid(gates), 3, axis=-1)
    cell = forget_gate * cell + input_gate * candidate
    return output_gate * tf.tanh(cell), cell


@keras.saving.register_keras_serializable("r2m")
class Cell(keras.layers.Layer):
    """A recurrent cell with its weights: sums = x W_x + b_x + h W_h + b_h.

    Shapes: inputs float[..., F], state a tuple of float[B, units] whose first is the output h.
    PyTorch's cells have both biases: with them parameters count as published. Starting weights are
    as there: those of `rnn` and `lstm` uniform in +-1/sqrt(units); `maxout` is two linear layers,
    each uniform in +-1/sqrt(fan-in).
    """

    def __init__(
        self,
        *,
        kind: CellKind,
        units: int,
        input_initializer: Any = None,
        recurrent_initializer: Any = None,
        bias_initializer: Any = None,
        recurrent_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        """Builds nothing yet.

        Args:
            kind: `rnn`, `lstm` or `maxout`.
            units: H.
            input_initializer: of W_x; None is PyTorch's.
            recurrent_initializer: of W_h, likewise.
            bias_initializer: of both biases, likewise.
            recurrent_bias: whether there is a b_h beside b_x.
            **kwargs: of `keras.layers.Layer`.
        """
        super().__init__(**kwargs)
        self.kind, self.units, self.recurrent_bias = kind, units, recurrent_bias
        self._initializers = [
            keras.initializers.get(given)
            for given in (input_initializer, recurrent_initializer, bias_initializer)
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs float[..., F]."""
        size = _BLOCKS[self.kind] * self.units
        inputs, recurrent, bias = self._initializers
        fan_in = int(input_shape[-1] or 0) if self.kind == "maxout" else self.units
        self.input_map = Linear(
            size,
            kernel_initializer=_or_uniform(inputs, fan_in),
            bias_initializer=_or_uniform(bias, fan_in),
            name="input_map",
        )
        self.recurrent_map = Linear(
            size,
            use_bias=self.recurrent_bias,
            kernel_initializer=_or_uniform(recurrent, self.units),
            bias_initializer=_or_uniform(bias, self.units),
            name="recurrent_map",
        )
        self.input_map.build((None, input_shape[-1]))
        self.recurrent_map.build((None, self.units))

    def precompute(self, inputs: tf.Tensor) -> tf.Tensor:
        """The inputs' share of the sums: float[..., F] -> float[..., blocks * units]."""
        return self.input_map(inputs)

    def step(
        self, precomputed: tf.Tensor, state: State, attended: tf.Tensor | None = None
    ) -> State:
        """One step: the inputs' share float[B, blocks * units] and the state -> the state."""
        sums = precomputed + self.recurrent_map(state[0])
        if self.kind == "rnn":
            return rnn_step(sums)
        if self.kind == "lstm":
            return lstm_step(sums, state[1])
        return maxout_step(sums, state[1], attended)

    def initial_state(self, batch: tf.Tensor | int) -> State:
        """Zeros float[batch, units], as many as the state has."""
        zeros = tf.zeros([batch, self.units], self.compute_dtype)
        return (zeros,) if self.kind == "rnn" else (zeros, zeros)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        inputs, recurrent, bias = map(keras.initializers.serialize, self._initializers)
        return {
            **super().get_config(),
            "kind": self.kind,
            "units": self.units,
            "input_initializer": inputs,
            "recurrent_initializer": recurrent,
            "bias_initializer": bias,
            "recurrent_bias": self.recurrent_bias,
        }


def _or_uniform(given: Any, fan_in: int) -> Any:
    """A given initialiser, else uniform in +-1/sqrt(fan-in)."""
    bound = fan_in**-0.5
    return keras.initializers.RandomUniform(-bound, bound) if given is None else given.clone()
