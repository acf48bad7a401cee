"""The client of TensorFlow Serving's gRPC interface."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from r2m.serving.address import Address
from r2m.serving.client import caption_images, check_signature, connect
from r2m.serving.export import Exported
from r2m.serving.loaded_export import LoadedExport, load_export
from tfrecords.core.errors import InputError
from tfrecords.pictures.named_images import named_files

apis = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2  # noqa: E402


class Service(apis.PredictionServiceServicer):  # type: ignore[misc]
    """Serves an export as TensorFlow Serving does."""

    def __init__(self, export: LoadedExport, definitions: Any) -> None:
        self.export, self.definitions, self.requests = export, definitions, 0

    def GetModelMetadata(self, request: Any, context: Any) -> Any:
        if request.model_spec.name != self.export.name:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Latest(x)")
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        found = get_model_metadata_pb2.SignatureDefMap(signature_def=self.definitions)
        answer.metadata["signature_def"].Pack(found)
        return answer

    def Predict(self, request: Any, context: Any) -> Any:
        self.requests += 1
        if self.requests == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the batch scheduling queue is full")
        assert request.model_spec.version.value == 1
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        outputs = self.export.signatures[request.model_spec.signature_name].function(inputs)
        answer = predict_pb2.PredictResponse()
        for name, column in outputs.items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(column))
        return answer


@pytest.fixture(scope="module")
def export(exported: Callable[[str], Exported]) -> LoadedExport:
    return load_export(exported("att2in2").folder)[0]


@pytest.fixture
def host(export: LoadedExport, exported: Callable[[str], Exported]) -> Iterator[str]:
    data = (exported("att2in2").folder / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(data).meta_graphs[0]
    server = grpc.server(ThreadPoolExecutor(4))
    apis.add_PredictionServiceServicer_to_server(Service(export, graph.signature_def), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(None).wait()


def test_captions_by_grpc_are_those_of_the_model(
    host: str,
    export: LoadedExport,
    image_files: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("r2m.serving.grpc_connection.PAUSES", (0.01,))
    for number, data in enumerate([*image_files, b"some text"]):
        (tmp_path / f"{number}.png").write_bytes(data)
    connection = connect(Address(host, "att2in2", version=1))
    check_signature(connection)
    files = named_files([tmp_path]).files
    rows = list(caption_images(connection, files, batch_size=2, parallel=2))
    outputs = export.signatures["serving_default"].function({"images": image_files})  # type: ignore[dict-item]
    expected = [[text.decode() for text in own] for own in outputs["captions"]]
    assert [row["captions"] for row in rows[:-1]] == expected
    assert [row["status"] for row in rows[:-1]] == ["ok"] * len(image_files)
    assert all(None not in row["scores"] and row["confidences"] == [None] * 3 for row in rows[:-1])
    assert rows[-1]["status"].startswith("unreadable")


def test_errors_of_grpc_are_explained(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def message(url: str, model: str = "att2in2", seconds: float = 60.0) -> str:
        with pytest.raises(InputError) as error:
            check_signature(connect(Address(url, model, seconds=seconds)))
        return str(error.value)

    found = message(host, "other")
    assert "answers with NOT_FOUND: Servable not found" in found and "(--model)?" in found
    found = message("grpc://127.0.0.1:9")
    assert "no server answers at grpc://127.0.0.1:9 (" in found and "start TensorFlow Ser" in found
    for bad in ("grpc://127.0.0.1", "grpc://[::1:8500"):
        assert "expected grpc://HOST:PORT" in message(bad)
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    monkeypatch.delitem(sys.modules, "r2m.serving.grpc_connection")
    assert "pip install 'r2m[grpc]'" in message(host)
