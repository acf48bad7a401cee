"""A plain LSTM over all steps by Keras, which takes cuDNN's kernel on a GPU.

There one kernel for all steps, padded positions included, is several times as fast as a loop over
the real ones. What attends between its steps, or has another cell, has no such kernel, and on a
processor `models.layers.packed_steps` is faster.
"""

from __future__ import annotations

from types import SimpleNamespace

import keras
import tensorflow as tf

from models.layers.cells import Cell


def keras_twin(cell: Cell, features: int) -> SimpleNamespace:
    """A Keras LSTM of a cell's sizes, to be given the cell's weights at every call.

    Args:
        cell: of kind `lstm`.
        features: F, size of its inputs.

    Returns:
        The layer, in `layer`: wrapped, so that the model it belongs to does not take its idle
        variables for weights of its own.
    """
    layer = keras.layers.LSTM(cell.units, return_sequences=True, unit_forget_bias=False)
    layer.build((None, None, features))
    return SimpleNamespace(layer=layer)


def all_steps(
    twin: SimpleNamespace,
    cell: Cell,
    inputs: tf.Tensor,
    state: tuple[tf.Tensor, ...],
    lengths: tf.Tensor,
) -> tf.Tensor:
    """The outputs of an LSTM for all steps.

    Args:
        twin: of `cell`.
        cell: whose weights are used.
        inputs: float[N, T, F], right-padded.
        state: (h0, c0), float[N, H] each.
        lengths: int32[N], steps that count, at least 1 each (cuDNN takes no empty rows).

    Returns:
        float[N, T, H], 0 at steps that do not count.
    """
    real = tf.sequence_mask(lengths, tf.shape(inputs)[1])
    maps = cell.input_map, cell.recurrent_map
    bias = sum(tf.convert_to_tensor(m.bias) for m in maps if m.bias is not None)
    weights = [_reordered(x) for x in (*(tf.convert_to_tensor(m.kernel) for m in maps), bias)]
    layer = twin.layer
    unused = list(layer.non_trainable_variables)  # the seed of a dropout it does not do
    outputs, _ = layer.stateless_call(weights, unused, inputs, initial_state=list(state), mask=real)
    return outputs * tf.cast(real, outputs.dtype)[:, :, tf.newaxis]


def _reordered(weights: tf.Tensor) -> tf.Tensor:
    """Blocks i, f, o, g of the last axis in the order of Keras: i, f, g, o."""
    inputs, forget, output, candidate = tf.split(weights, 4, axis=-1)
    return tf.concat([inputs, forget, candidate, output], axis=-1)
