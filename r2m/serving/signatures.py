"""Signatures of an exported model: named tensors in, named tensors out, a status per item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrecords.pictures.batch_decoding import OK

DEFAULT = "serving_default"
IMAGES = "images"
"""Name of the input of encoded images."""

STATUS = "status"

Tensors = dict[str, tf.Tensor]


class Signature(NamedTuple):
    """A function of an exported model.

    Attributes:
        function: `tf.function` of the inputs, in the order of `example`, that returns a dict.
        example: inputs of one item, for warm-up requests: array [1, ...] by name.
    """

    function: Any
    example: dict[str, np.ndarray]


class ServedModel(NamedTuple):
    """Signatures of an exported model.

    Attributes:
        kind: `captioner`, `r2m` or `retrieval`.
        signatures: signatures by name.
        left_out: name of an unsupported signature -> reason.
        tables: lookup tables that the signatures read.
        notes: limits of this model, for its card.
        networks: Keras models whose weights the signatures read.
    """

    kind: str
    signatures: dict[str, Signature]
    left_out: dict[str, str]
    tables: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    networks: tuple[Any, ...] = ()


def make_signature(
    body: Callable[..., Tensors],
    inputs: Mapping[str, tf.TensorSpec],
    example: Mapping[str, Any],
) -> Signature:
    """Returns a signature, which is traced later.

    Args:
        body: function of the inputs by name; every output has the batch as its first dimension.
        inputs: inputs by name, the batch first.
        example: value of one item by name, without the batch.
    """
    names = list(inputs)

    def served(*tensors: tf.Tensor) -> Tensors:
        return body(**dict(zip(names, tensors, strict=True)))

    function = signature_function(
        served,
        [tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()],
    )
    arrays = {
        name: np.asarray(example[name], spec.dtype.as_numpy_dtype)[np.newaxis]
        for name, spec in inputs.items()
    }
    return Signature(function, arrays)


def signature_function(body: Callable[..., Tensors], specs: Sequence[tf.TensorSpec]) -> Any:
    """Returns a `tf.function` of named tensors, in the order of `specs`."""
    return tf.function(body, input_signature=list(specs), autograph=False)


def within_lengths(texts: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Empties the strings of rows string [B, N] after their lengths int32 [B].

    TensorFlow Serving pads the rows of a batch with the first string of the first row.
    """
    return tf.where(tf.sequence_mask(lengths, tf.shape(texts)[1]), texts, "")


def example_image(side: int = 32) -> bytes:
    """Returns a gray JPEG, for examples."""
    data: bytes = tf.io.encode_jpeg(tf.fill([side, side, 3], tf.constant(128, tf.uint8))).numpy()
    return data


def first_fault(*statuses: tf.Tensor) -> tf.Tensor:
    """Returns per item the first status that is not `ok`: string [B]."""
    found, *others = statuses
    for other in others:
        found = tf.where(found == OK, other, found)
    return found


def finite_or_fault(tensors: Mapping[str, tf.Tensor]) -> tuple[Tensors, tf.Tensor]:
    """Replaces the tensors of items with infinities or NaN by zeros.

    Args:
        tensors: tensors by name, the batch first.

    Returns:
        The tensors, and string [B], `ok` or `not_finite: ...`.
    """
    batch = tf.shape(next(iter(tensors.values())))[0]
    status, found = tf.fill([batch], OK), dict(tensors)
    for name, tensor in tensors.items():
        if not tensor.dtype.is_floating:
            continue
        axes = list(range(1, tensor.shape.rank))
        good = tf.reduce_all(tf.math.is_finite(tensor), axis=axes)
        found[name] = tf.where(tf.reshape(good, [-1] + [1] * len(axes)), tensor, 0)
        fault = tf.constant(f"not_finite: {name} contains infinities or NaN")
        status = first_fault(status, tf.where(good, OK, fault))
    return found, status
