"""Warm-up requests of TensorFlow Serving: a TFRecord of `PredictionLog` messages.

TensorFlow Serving replays them when it loads a model, so that no client waits for the first run of
a graph. The messages are those of tensorflow-serving-api. The few required fields are described
here, so that an export needs no further package.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

from r2m.serving.signatures import Signature

FILE = "assets.extra/tf_serving_warmup_requests"
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
"""Items of batches: TensorFlow Serving pads a batch to the next of these sizes."""

MOST_REQUESTS = 1000
"""Maximum number of requests that TensorFlow Serving accepts in a file."""

# Stored features and pixels make large requests.
_MOST_BYTES = 1 << 20
_PACKAGE = "r2m.serving_warmup"
_FIELD = descriptor_pb2.FieldDescriptorProto
# Message -> its fields: name, number, type (the name of a message, or None for a string).
# Numbers are those of tensorflow_serving/apis/{model,predict,prediction_log}.proto.
_MESSAGES: dict[str, list[tuple[str, int, str | None]]] = {
    "ModelSpec": [("name", 1, None), ("signature_name", 3, None)],
    "PredictRequest": [("model_spec", 1, f".{_PACKAGE}.ModelSpec")],
    "PredictLog": [("request", 1, f".{_PACKAGE}.PredictRequest")],
    "PredictionLog": [("predict_log", 6, f".{_PACKAGE}.PredictLog")],
}
_INPUTS = 2  # the map of tensors in PredictRequest


def write_warmup_requests(
    signatures: Mapping[str, Signature],
    folder: Path,
    model: str,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> Path:
    """Writes the warm-up requests of a model: one per signature and batch size.

    Args:
        signatures: signatures of the model.
        folder: folder of the SavedModel.
        model: name of the model.
        batch_sizes: items per request; the larger ones only of requests up to a megabyte.

    Returns:
        The file.
    """
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in _requests(signatures, model, batch_sizes):
            writer.write(request)
    return path


def _requests(
    signatures: Mapping[str, Signature], model: str, batch_sizes: Sequence[int]
) -> Iterator[bytes]:
    assert len(signatures) * len(batch_sizes) <= MOST_REQUESTS
    for name, signature in signatures.items():
        item = sum(example.nbytes for example in signature.example.values())
        for size in batch_sizes:
            if size > 1 and size * item > _MOST_BYTES:
                continue
            log = prediction_log_class()()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = model, name
            for given, example in signature.example.items():
                repeated = np.repeat(example, size, axis=0)
                request.inputs[given].CopyFrom(tf.make_tensor_proto(repeated))
            yield log.SerializeToString(deterministic=True)


@functools.cache
def prediction_log_class() -> Any:
    """Returns the message class of `PredictionLog`, with the fields of predict requests."""
    file = descriptor_pb2.FileDescriptorProto(
        name="r2m/serving_warmup.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[tensor_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            _add_field(message, field, number, kind)
    request = next(message for message in file.message_type if message.name == "PredictRequest")
    entry = request.nested_type.add(name="InputsEntry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, None)
    _add_field(entry, "value", 2, f".{tensor_pb2.TensorProto.DESCRIPTOR.full_name}")
    inputs = f".{_PACKAGE}.PredictRequest.InputsEntry"
    _add_field(request, "inputs", _INPUTS, inputs).label = _FIELD.LABEL_REPEATED
    pool = descriptor_pool.Default()
    pool.Add(file)
    found = pool.FindMessageTypeByName(f"{_PACKAGE}.PredictionLog")
    return message_factory.GetMessageClass(found)


def _add_field(message: Any, name: str, number: int, kind: str | None) -> Any:
    field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
    field.type = _FIELD.TYPE_STRING if kind is None else _FIELD.TYPE_MESSAGE
    if kind is not None:
        field.type_name = kind
    return field
