"""Functions whose variables have become constants, which TensorFlow computes faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def frozen_function(
    function: Callable[[tf.Tensor], Any], signature: tf.TensorSpec
) -> Callable[[tf.Tensor], Any]:
    """Compiles a function with the present values of its variables; later ones do not reach it.

    TensorFlow multiplies convolutions of constants by the factors of the batch normalization behind
    them once, and adds what is left of it together with the activation in the convolution itself.

    Args:
        function: of one tensor; returns tensors and None, in tuples, lists or dictionaries.
        signature: of its argument.

    Returns:
        The compiled function, with results of the same structure.
    """
    compiled = tf.function(function, input_signature=[signature]).get_concrete_function()
    frozen = convert_variables_to_constants_v2(compiled)
    structure = compiled.structured_outputs

    def call(argument: tf.Tensor) -> Any:
        found = iter(frozen(argument))
        return tf.nest.map_structure(lambda item: None if item is None else next(found), structure)

    return call
