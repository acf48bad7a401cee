"""Loop of recurrent steps over time, and an LSTM with the interface of the relational memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from models.layers import tracing


def unroll(step: Callable[[Any, Any], tuple[tf.Tensor, Any]], inputs: Any, state: Any) -> tf.Tensor:
    """Runs `step` over the time axis in one `tf.while_loop`.

    Args:
        step: (inputs of one step, state) -> (output [B, ...], state).
        inputs: nested tensors [T, B, ...].
        state: nested initial state [B, ...].

    Returns:
        The outputs [T, B, ...].
    """
    flat = tf.nest.flatten(inputs)
    if tf.executing_eagerly():  # Tracing would take longer than the loop.
        eager_outputs = []
        for now in zip(*(tf.unstack(x) for x in flat), strict=True):
            output, state = step(tf.nest.pack_sequence_as(inputs, now), state)
            eager_outputs.append(output)
        return tf.stack(eager_outputs)
    count = tf.shape(flat[0])[0]
    arrays = [
        tf.TensorArray(x.dtype, count, element_shape=[None, *x.shape[2:]]).unstack(x) for x in flat
    ]
    one = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape[1:], x.dtype), inputs)
    output, _ = tracing.trace_step(step, one, state).structured_outputs
    outputs = tf.TensorArray(output.dtype, count, element_shape=[None, *output.shape[1:]])

    def body(t: tf.Tensor, state: Any, outputs: tf.TensorArray) -> tuple[Any, ...]:
        now = tf.nest.pack_sequence_as(inputs, [x.read(t) for x in arrays])
        output, state = step(now, state)
        return t + 1, state, outputs.write(t, output)

    start = (tf.constant(0), state, outputs)
    _, _, outputs = tf.while_loop(
        lambda t, *_: t < count,
        body,
        start,
        shape_invariants=tracing.any_batch(start),
        maximum_iterations=count,
    )
    return outputs.stack()


@keras.saving.register_keras_serializable("r2m")
class LongShortTermMemory(keras.layers.Layer):
    """A dense layer to `units`, then an LSTM: the ablation of the relational memory.

    Shapes: inputs float[B, T, F], state (hidden, cell) of float[B, units], outputs
    float[B, T, units].

    Example:
        ```python
        outputs = LongShortTermMemory(units=512)(inputs)
        ```

    Source: Guo et al. 2020 (ablations).
    """

    def __init__(self, *, units: int, **kwargs: Any) -> None:
        """Builds nothing yet; `units` is the size of the hidden state and of the cell state."""
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs float[B, T, F]."""
        self.input_map = keras.layers.Dense(self.units, name="input_map", dtype=self.dtype_policy)
        self.input_map.build((None, input_shape[-1]))
        self.lstm = keras.layers.LSTM(
            self.units, return_sequences=True, name="lstm", dtype=self.dtype_policy
        )
        self.lstm.build((None, None, self.units))

    def precompute(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the state-independent part of a step: float[..., F] -> float[..., units]."""
        return self.input_map(inputs)

    def step(
        self, precomputed: tf.Tensor, state: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        """Computes one step: float[B, units], state -> output float[B, units], state."""
        output, (hidden, cell) = self.lstm.cell(precomputed, list(state))
        return output, (hidden, cell)

    def initial_state(self, batch: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns two tensors of zeros [batch, units]."""
        zeros = tf.zeros([batch, self.units], self.compute_dtype)
        return zeros, zeros

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Runs all steps from a zero state: float[B, T, F] -> float[B, T, units]."""
        return self.lstm(self.precompute(inputs))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "units": self.units}
