"""Recurrent cells: plain RNN, GRU, LSTM and maxout LSTM.

The product with the inputs does not depend on the state. `precompute` computes it for all steps at
once, and `step` adds the product with the state.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

import keras
import tensorflow as tf

from models.layers import cudnn_lstm
from models.layers.linear import Linear
from models.layers.precision import in_float32

CellKind = Literal["rnn", "gru", "lstm", "maxout"]
State = tuple[tf.Tensor, ...]

# Number of blocks of `units` columns in the products; the step functions document their order.
_BLOCKS: dict[str, int] = {"rnn": 1, "gru": 3, "lstm": 4, "maxout": 5}


@in_float32
def rnn_step(sums: tf.Tensor) -> State:
    """Computes a step of a plain RNN: h = tanh(a), for sums a float[B, H] -> the state (h)."""
    return (tf.tanh(sums),)


@in_float32
def gru_step(inputs: tf.Tensor, recurrent: tf.Tensor, hidden: tf.Tensor) -> State:
    """Computes a step of a GRU: n = tanh(x + r a); h' = z h + (1 - z) n.

    z and r are the sigmoids of the sums of their two blocks.

    Args:
        inputs: float[B, 3 * H], products with the inputs: blocks z, r and x.
        recurrent: float[B, 3 * H], products with h: blocks z, r and a.
        hidden: h float[B, H].

    Returns:
        The state (h'), float[B, H]. Source: Cho et al. 2014, with the reset gate applied after the
        product, as in PyTorch, cuDNN and Keras' `reset_after`.
    """
    return (_fused_gru(inputs, recurrent, hidden),)


@tf.custom_gradient
def _fused_gru(inputs: tf.Tensor, recurrent: tf.Tensor, hidden: tf.Tensor) -> Any:
    """Returns h', with a custom gradient of fewer operations than the one TensorFlow derives."""
    size = hidden.shape[-1]
    gates = tf.sigmoid(inputs[:, : 2 * size] + recurrent[:, : 2 * size])
    update, reset = tf.split(gates, 2, axis=-1)
    product = recurrent[:, 2 * size :]
    candidate = tf.tanh(inputs[:, 2 * size :] + reset * product)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
        of_sum = tf.raw_ops.TanhGrad(y=candidate, dy=upstream * (1 - update))
        of_opened = tf.concat([upstream * (hidden - candidate), of_sum * product], axis=-1)
        of_gates = tf.raw_ops.SigmoidGrad(y=gates, dy=of_opened)
        of_inputs = tf.concat([of_gates, of_sum], axis=-1)
        of_recurrent = tf.concat([of_gates, of_sum * reset], axis=-1)
        return of_inputs, of_recurrent, upstream * update

    return candidate + update * (hidden - candidate), gradient


@in_float32
def lstm_step(sums: tf.Tensor, cell: tf.Tensor) -> State:
    """Computes a step of an LSTM: c' = f c + i g; h = o tanh(c').

    i, f and o are the sigmoids of their blocks, g is the tanh of the last block.

    Args:
        sums: float[B, 4 * H], blocks in the order i, f, o, g.
        cell: c float[B, H].

    Returns:
        The state (h, c'), float[B, H] each.
    """
    gates, candidate = tf.split(sums, [3 * cell.shape[-1], cell.shape[-1]], axis=-1)
    return _gated(gates, tf.tanh(candidate), cell)


@in_float32
def maxout_step(sums: tf.Tensor, cell: tf.Tensor, context: tf.Tensor | None = None) -> State:
    """Computes an LSTM step whose candidate is the maximum of two blocks, without tanh.

    Args:
        sums: float[B, 5 * H], blocks in the order i, f, o and the two candidate blocks.
        cell: c float[B, H].
        context: float[B, 2 * H], added to the two candidate blocks (att2in); or None.

    Returns:
        The state (h, c'), float[B, H] each. Source: Rennie et al. 2017 (arXiv 1612.00563).
    """
    size = cell.shape[-1]
    gates, candidates = tf.split(sums, [3 * size, 2 * size], axis=-1)
    if context is not None:
        candidates += context
    return _gated(gates, tf.maximum(*tf.split(candidates, 2, axis=-1)), cell)


def _gated(gates: tf.Tensor, candidate: tf.Tensor, cell: tf.Tensor) -> State:
    hidden, cell = _fused_gates(gates, candidate, cell)
    return hidden, cell


@tf.custom_gradient
def _fused_gates(gates: tf.Tensor, candidate: tf.Tensor, cell: tf.Tensor) -> Any:
    """Returns h and c', with a custom gradient.

    It has a third of the operations of the gradient that TensorFlow derives.
    """
    opened = tf.sigmoid(gates)
    input_gate, forget_gate, output_gate = tf.split(opened, 3, axis=-1)
    after = forget_gate * cell + input_gate * candidate
    squashed = tf.tanh(after)

    def gradient(of_hidden: tf.Tensor, of_after: tf.Tensor) -> tuple[tf.Tensor, ...]:
        of_output = of_hidden * squashed
        of_cell = of_after + tf.raw_ops.TanhGrad(y=squashed, dy=of_hidden * output_gate)
        of_opened = tf.concat([of_cell * candidate, of_cell * cell, of_output], axis=-1)
        of_gates = tf.raw_ops.SigmoidGrad(y=opened, dy=of_opened)
        return of_gates, of_cell * input_gate, of_cell * forget_gate

    return (output_gate * squashed, after), gradient


@keras.saving.register_keras_serializable("r2m")
class Cell(keras.layers.Layer):
    """A recurrent cell with its weights: sums = x W_x + b_x + h W_h + b_h.

    Shapes: inputs float[..., F]; the state is a tuple of float[B, units], whose first item is the
    output h.

    There are two biases, as in PyTorch, so that the number of parameters is the published one.
    Weights are initialized as in PyTorch: uniformly in +-1/sqrt(units) for `rnn`, `gru` and `lstm`.
    For `maxout`, which consists of two linear layers, uniformly in +-1/sqrt(fan-in) of each.

    Example:
        ```python
        cell = Cell(kind="lstm", units=512, name="cell")
        cell.build((None, 300))
        state = cell.step(cell.precompute(words), cell.initial_state(8))
        ```
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
            kind: `rnn`, `gru`, `lstm` or `maxout`.
            units: H.
            input_initializer: initializer of W_x; None for PyTorch's.
            recurrent_initializer: initializer of W_h; None for PyTorch's.
            bias_initializer: initializer of both biases; None for PyTorch's.
            recurrent_bias: whether the cell has b_h in addition to b_x.
            **kwargs: arguments of `keras.layers.Layer`.
        """
        super().__init__(**kwargs)
        self.kind, self.units, self.recurrent_bias = kind, units, recurrent_bias
        self._keras_lstm: SimpleNamespace | None = None
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
            dtype=self.dtype_policy,
        )
        self.recurrent_map = Linear(
            size,
            use_bias=self.recurrent_bias,
            kernel_initializer=_or_uniform(recurrent, self.units),
            bias_initializer=_or_uniform(bias, self.units),
            name="recurrent_map",
            dtype=self.dtype_policy,
        )
        self.input_map.build((None, input_shape[-1]))
        self.recurrent_map.build((None, self.units))
        if self.kind == "lstm" and cudnn_lstm.is_available():
            self._keras_lstm = cudnn_lstm.build_keras_lstm(
                self.units, int(input_shape[-1] or 0), self.dtype_policy
            )

    def precompute(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the product with the inputs: float[..., F] -> float[..., blocks * units]."""
        return self.input_map(inputs)

    def step(self, precomputed: tf.Tensor, state: State, context: tf.Tensor | None = None) -> State:
        """Returns the next state, from `precompute` float[B, blocks * units] and the state."""
        recurrent = self.recurrent_map(state[0])
        if self.kind == "gru":
            return gru_step(precomputed, recurrent, state[0])
        sums = precomputed + recurrent
        if self.kind == "rnn":
            return rnn_step(sums)
        if self.kind == "lstm":
            return lstm_step(sums, state[1])
        return maxout_step(sums, state[1], context)

    @property
    def has_all_steps(self) -> bool:
        """True if `all_steps` is available: for an LSTM, on a GPU."""
        return self._keras_lstm is not None

    def all_steps(self, inputs: tf.Tensor, state: State, lengths: tf.Tensor) -> tf.Tensor:
        """Returns h of all steps: float[N, T, F], state, lengths int32[N] -> float[N, T, H].

        Lengths must be at least 1. h is 0 at padding.
        """
        assert self._keras_lstm is not None, "all_steps is not available, see has_all_steps"
        return cudnn_lstm.all_steps(
            self._keras_lstm, self.input_map, self.recurrent_map, inputs, state, lengths
        )

    def initial_state(self, batch: tf.Tensor | int) -> State:
        """Returns zeros float[batch, units], one tensor per part of the state."""
        zeros = tf.zeros([batch, self.units], self.compute_dtype)
        return (zeros,) if self.kind in ("rnn", "gru") else (zeros, zeros)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
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
    """Returns a copy of an initializer, or for None the uniform one in +-1/sqrt(fan-in)."""
    bound = fan_in**-0.5
    return keras.initializers.RandomUniform(-bound, bound) if given is None else given.clone()
