"""Writing of signatures with their weights as a SavedModel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from r2m.serving.signatures import ServedModel


class _Exported(tf.Module):
    """Owner of the variables and tables that the signatures of a SavedModel read."""

    def __init__(self, served: ServedModel, variables: list[tf.Variable]) -> None:
        super().__init__(name="r2m")
        self.weights_in_use = variables
        self.tables = list(served.tables)


def write_saved_model(served: ServedModel, folder: Path) -> dict[str, Any]:
    """Traces the signatures of a model and writes them as a SavedModel.

    It contains the weights that the signatures read, and no Keras objects.

    Args:
        served: the model.
        folder: folder to write to.

    Returns:
        Name of a signature -> `inputs` and `outputs`, each name -> `dtype` and `shape`; JSON.
    """
    traced: dict[str, Any] = {}
    functions: dict[int, Any] = {}  # a function may have two names
    for name, signature in served.signatures.items():
        function = signature.function
        traced[name] = functions.setdefault(id(function), function.get_concrete_function())
    variables = {id(v): v for function in traced.values() for v in _captured_variables(function)}
    module = _Exported(served, list(variables.values()))
    with errors_only():
        tf.saved_model.save(module, str(folder), signatures=traced)
    return {
        name: described(served.signatures[name].function.input_signature, function)
        for name, function in traced.items()
    }


def _captured_variables(function: Any) -> list[tf.Variable]:
    """Returns the variables that a concrete function reads.

    `function.variables` also contains variables that were only read while a Keras model was built
    inside the trace, such as the original kernels of `fold_batch_normalization`.
    """
    captured = {id(tensor) for tensor in function.captured_inputs}
    return [v for v in function.variables if id(v.handle) in captured]


def described(inputs: Sequence[tf.TensorSpec], function: Any) -> dict[str, Any]:
    """Returns `inputs` and `outputs` of a concrete function, sorted, see `write_saved_model`."""
    outputs = [
        tf.TensorSpec(tensor.shape, tensor.dtype, name=name)
        for name, tensor in sorted(function.structured_outputs.items())
    ]
    return {"inputs": _tensors(inputs), "outputs": _tensors(outputs)}


@contextlib.contextmanager
def errors_only() -> Iterator[None]:
    """Hides TensorFlow's messages during saving, about names of inner tensors and times."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _tensors(specs: Any) -> dict[str, dict[str, Any]]:
    return {spec.name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for spec in specs}
