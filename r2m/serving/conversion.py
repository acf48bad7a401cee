"""Conversion of TensorFlow functions to the formats of other runtimes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from typing import Any, Literal, get_args

import tensorflow as tf

from r2m.serving.extra import importing
from r2m.serving.saved_model import errors_only
from tfrecords.core.errors import InputError

PortableFormat = Literal["onnx", "litert"]
PORTABLE_FORMATS: tuple[str, ...] = get_args(PortableFormat)
SUFFIXES = {"onnx": "onnx", "litert": "tflite"}
_OPSET = 17
# Forms in which converters name an operation that they cannot convert.
_OPERATION = re.compile(r"'tf\.(\w+)' op|No Op registered for (\w+)")


def convert(function: Any, format: PortableFormat, what: str) -> bytes:
    """Converts a function.

    Args:
        function: `tf.function` with an input signature of named tensors.
        format: target format.
        what: subject of messages, such as `the step of captioner updown`.

    Returns:
        The bytes of a file. ONNX has the outputs in the order of their sorted names.

    Raises:
        InputError: a package is missing, or an operation cannot be converted.
    """
    converters: dict[str, Callable[[Any], bytes]] = {"onnx": _to_onnx, "litert": _to_litert}
    try:
        with errors_only(), importing(format):
            return converters[format](function)
    except InputError:
        raise
    except Exception as error:  # converters raise internal errors of any type
        names = dict.fromkeys(a or b for a, b in _OPERATION.findall(str(error)))
        operations = f"operation {', '.join(names)}" if names else str(error).splitlines()[0][:300]
        others = " or ".join(name for name in PORTABLE_FORMATS if name != format)
        raise InputError(
            f"{what} cannot be converted to {format}: {operations}; export it with "
            f"--format={others}, or as a SavedModel"
        ) from error


def _to_onnx(function: Any) -> bytes:
    import onnx
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=_OPSET
    )
    # Unsupported operations remain unchanged.
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _to_litert(function: Any) -> bytes:
    module = tf.Module()
    module.variables_in_use = list(function.get_concrete_function().graph.variables)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=function)
        data: bytes = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    return data
