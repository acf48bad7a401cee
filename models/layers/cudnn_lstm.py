"""All steps of a plain LSTM in one cuDNN kernel, by way of Keras.

On a GPU, one kernel for all steps, padded positions included, is several times as fast as a loop
over the real positions. No such kernel exists for a recurrence with attention or for another cell.
On a CPU, `models.layers.packed_steps` is faster.
"""

from __future__ import annotations

from types import SimpleNamespace

import keras
import tensorflow as tf

from models.layers.linear import Linear


def is_available() -> bool:
    """Returns whether TensorFlow has a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def build_keras_lstm(units: int, features: int, dtype: keras.DTypePolicy) -> SimpleNamespace:
    """Returns a Keras LSTM that receives the weights of another cell at every call.

    Args:
        units: H.
        features: F, size of its inputs.
        dtype: dtype of the cell.

    Returns:
        A namespace with the layer in `layer`. The wrapper keeps models from tracking the unused
        variables of the layer.
    """
    layer = keras.layers.LSTM(units, return_sequences=True, unit_forget_bias=False, dtype=dtype)
    layer.build((None, None, features))
    return SimpleNamespace(layer=layer)


def all_steps(
    keras_lstm: SimpleNamespace,
    input_map: Linear,
    recurrent_map: Linear,
    inputs: tf.Tensor,
    state: tuple[tf.Tensor, ...],
    lengths: tf.Tensor,
) -> tf.Tensor:
    """Returns the outputs of an LSTM for all steps.

    Args:
        keras_lstm: from `build_keras_lstm`.
        input_map: input map of the cell, whose gates are in the order i, f, o, g.
        recurrent_map: recurrent map of the cell.
        inputs: float[N, T, F], right-padded.
        state: (h0, c0), float[N, H] each.
        lengths: int32[N], number of real steps, at least 1 each (cuDNN rejects empty rows).

    Returns:
        float[N, T, H], 0 at padding.
    """
    real = tf.sequence_mask(lengths, tf.shape(inputs)[1])
    maps = input_map, recurrent_map
    bias = sum(tf.convert_to_tensor(m.bias) for m in maps if m.bias is not None)
    weights = [_reordered(x) for x in (*(tf.convert_to_tensor(m.kernel) for m in maps), bias)]
    layer = keras_lstm.layer
    unused = list(layer.non_trainable_variables)  # the seed of a dropout of rate 0
    outputs, _ = layer.stateless_call(weights, unused, inputs, initial_state=list(state), mask=real)
    return outputs * tf.cast(real, outputs.dtype)[:, :, tf.newaxis]


def _reordered(weights: tf.Tensor) -> tf.Tensor:
    """Reorders the blocks i, f, o, g of the last axis to the order of Keras: i, f, g, o."""
    inputs, forget, output, candidate = tf.split(weights, 4, axis=-1)
    return tf.concat([inputs, forget, candidate, output], axis=-1)
