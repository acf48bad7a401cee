"""Loading of exported models for a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf.json_format import MessageToDict
from tensorflow.core.protobuf import saved_model_pb2

from r2m.engine.errors import plain_message
from r2m.serving.graph_operations import check_operations
from r2m.serving.rest_contract import DEFAULT_SIGNATURE, STRING, RequestError, TensorInfo
from r2m.serving.version_folders import model_name, versions_of
from r2m.serving.warmup import FILE, MOST_REQUESTS, prediction_log_class
from tfrecords.core.errors import InputError
from tfrecords.core.missing_paths import describe_missing

_GRAPH = "saved_model.pb"
_SERVE = "serve"


class LoadedSignature(NamedTuple):
    """A function of a loaded model.

    Attributes:
        inputs: inputs by name, sorted.
        outputs: outputs by name.
        function: columns [B, ...] by name -> columns [B, ...] by name.
    """

    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    function: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


class LoadedExport(NamedTuple):
    """A version of an exported model.

    Attributes:
        name: name of the model.
        version: number of the version.
        signatures: signatures by name.
        definitions: the signatures in TensorFlow Serving's JSON form.
        folder: folder of the version.
    """

    name: str
    version: int
    signatures: dict[str, LoadedSignature]
    definitions: dict[str, Any]
    folder: Path

    @property
    def captions_images(self) -> bool:
        """True if the default signature reads only images and returns captions."""
        default = self.signatures.get(DEFAULT_SIGNATURE)
        if default is None:
            return False
        return list(default.inputs) == ["images"] and "captions" in default.outputs


def load_export(model: Path, versions: Sequence[int] = ()) -> list[LoadedExport]:
    """Loads versions of an exported model and answers their warm-up requests.

    Args:
        model: folder of the model, or of one of its versions.
        versions: numbers of the versions; empty loads the latest one.

    Returns:
        The versions, ascending.

    Raises:
        InputError: the model or version does not exist or cannot be loaded.
    """
    if (model / _GRAPH).is_file():
        name, number = model_name(model), 1
        if name.isascii() and name.isdigit() and name == str(int(name)):
            name, number = model_name(model / ".."), int(name)
        if versions and list(versions) != [number]:
            raise InputError(f"{model} is one version: give the folder that contains its versions")
        return [_load(model, name, number)]
    found = versions_of(model)
    if not found:
        is_run = any(next(model.glob(name), None) for name in ("checkpoints", "*/checkpoints"))
        raise InputError(
            f"{model}: not an exported model; expected a folder of r2m-export, with a folder per "
            "version"
            + (f". To export this run: r2m-export --run={model} --output=FOLDER" if is_run else "")
            + ("" if model.exists() else describe_missing(model))
        )
    for number in versions:
        if number not in found:
            raise InputError(f"{model} has no version {number}: it has {_listed(found)}")
    return [
        _load(model / str(number), model_name(model), number)
        for number in sorted(set(versions) or {found[-1]})
    ]


def _load(folder: Path, name: str, number: int) -> LoadedExport:
    if not (folder / _GRAPH).is_file():
        hint = ""
        if (folder / "caption.py").is_file():
            hint = ", but two graphs for another runtime: export it with --format=saved_model"
        raise InputError(f"{folder}: no SavedModel{hint}")
    logging.info("loading version %d of %s, and answering its warm-up requests", number, name)
    try:
        graph = _read_graph(folder)
        check_operations(graph, folder)
        loaded = tf.saved_model.load(str(folder), tags=[_SERVE])
        definitions = _definitions(graph)
    except InputError:
        raise
    except Exception as error:  # a damaged folder can raise any exception
        message = plain_message(str(error)).splitlines()[0]
        raise InputError(f"{folder}: the SavedModel cannot be loaded: {message}") from error
    signatures = {own: _signature(loaded, own) for own in loaded.signatures}
    if not signatures:
        raise InputError(f"{folder}: the SavedModel has no signatures")
    export = LoadedExport(name, number, signatures, definitions, folder)
    _warm_up(export, folder / FILE)
    return export


def _signature(loaded: Any, name: str) -> LoadedSignature:
    concrete = loaded.signatures[name]
    # Loaded signatures have any order.
    inputs, outputs = (
        {own: _info(spec) for own, spec in sorted(specs.items())}
        for specs in (concrete.structured_input_signature[1], concrete.structured_outputs)
    )

    def function(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {
            own: tf.constant(columns[own], getattr(tf, info.dtype)) for own, info in inputs.items()
        }
        try:
            found = concrete(**tensors)
        except tf.errors.InvalidArgumentError as error:
            message = plain_message(str(error.message)).splitlines()[0]
            raise RequestError(400, f"the model cannot compute it: {message}") from error
        return {own: tensor.numpy() for own, tensor in found.items()}

    # The module owns the weights.
    function.module = loaded  # type: ignore[attr-defined]
    return LoadedSignature(inputs, outputs, function)


def _info(spec: Any) -> TensorInfo:
    shape = (None,) if spec.shape.rank is None else tuple(spec.shape.as_list())
    return TensorInfo(STRING if spec.dtype == tf.string else spec.dtype.name, shape)


def _read_graph(folder: Path) -> Any:
    content = saved_model_pb2.SavedModel.FromString((folder / _GRAPH).read_bytes())
    if len(content.meta_graphs) != 1:  # TensorFlow might load one that was not checked
        raise InputError(
            f"{folder}: the SavedModel has {len(content.meta_graphs)} graphs, expected one; export "
            "it with r2m-export"
        )
    return content.meta_graphs[0]


def _definitions(graph: Any) -> dict[str, Any]:
    """Returns the signatures of a SavedModel as JSON, without those of TensorFlow itself."""
    return {
        name: MessageToDict(
            definition,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for name, definition in sorted(graph.signature_def.items())
        if not name.startswith("__")
    }


def _warm_up(export: LoadedExport, path: Path) -> None:
    """Answers the warm-up requests, so that no client waits for the first run of a graph."""
    if not path.is_file():
        return
    try:
        for record in tf.data.TFRecordDataset(str(path)).take(MOST_REQUESTS).as_numpy_iterator():
            request = prediction_log_class().FromString(record).predict_log.request
            signature = export.signatures[request.model_spec.signature_name]
            signature.function(_arrays(request.inputs))
    except Exception as error:
        raise InputError(
            f"{path}: a warm-up request cannot be answered ({plain_message(str(error))}); export "
            "the model again, or delete the file"
        ) from error


def _arrays(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(proto) for name, proto in inputs.items()}


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
