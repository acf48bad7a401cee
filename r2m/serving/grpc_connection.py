"""Connection to a server by TensorFlow Serving's gRPC interface.

The messages are those of tensorflow-serving-api (extra `grpc`), which imports TensorFlow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from r2m.engine.distribution.addresses import format_host, parse_address
from r2m.serving.address import (
    PAUSES,
    Address,
    TensorNames,
    nothing_answers,
    too_large,
    too_slow,
    unknown_model,
)
from r2m.serving.rest_contract import to_json
from tfrecords.core.errors import InputError

_Code = grpc.StatusCode
_METADATA = "signature_def"
# TensorFlow Serving accepts messages of any size; responses may exceed gRPC's 4 megabytes.
_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class GrpcConnection:
    """Connection by gRPC, without encryption; see `Connection`."""

    def __init__(self, address: Address) -> None:
        """Creates the channel without connecting.

        Raises:
            InputError: the URL has another form.
        """
        try:
            host = format_host(*parse_address(address.url))
        except ValueError:
            raise InputError(
                f"--url={address.url}: expected grpc://HOST:PORT, [HOST] for an IPv6 address"
            ) from None
        self.address = address
        # Ignores proxies of the environment, which are for HTTP/1.1.
        self._channel = grpc.insecure_channel(host, [*_OPTIONS, ("grpc.enable_http_proxy", 0)])
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def signatures(self) -> dict[str, TensorNames]:
        """See `Connection`."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[_METADATA])
        self._name_model(request)
        answer = self._ask(self._service.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        if not answer.metadata[_METADATA].Unpack(found):
            raise InputError(f"{self.address.url}: the answer is not that of TensorFlow Serving")
        return {
            name: TensorNames(list(own.inputs), list(own.outputs))
            for name, own in found.signature_def.items()
        }

    def predict(self, images: Sequence[bytes]) -> dict[str, list[Any]]:
        """See `Connection`."""
        request = predict_pb2.PredictRequest()
        self._name_model(request)
        request.model_spec.signature_name = self.address.signature
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(list(images), tf.string))
        answer = self._ask(self._service.Predict, request, PAUSES)
        return {
            name: to_json(tf.make_ndarray(proto), name) for name, proto in answer.outputs.items()
        }

    def _name_model(self, request: Any) -> None:
        request.model_spec.name = self.address.model
        if self.address.version is not None:
            request.model_spec.version.value = self.address.version

    def _ask(self, method: Callable[..., Any], request: Any, pauses: Sequence[float] = ()) -> Any:
        for pause in (*pauses, None):
            try:
                return method(request, timeout=self.address.seconds)
            except grpc.RpcError as error:
                # TensorFlow Serving also responds so while its queue is full.
                if error.code() is not _Code.UNAVAILABLE or pause is None:
                    raise self._refused(error) from None
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _refused(self, error: Any) -> InputError:
        code, address = error.code(), self.address
        if code is _Code.DEADLINE_EXCEEDED:
            return too_slow(address)
        message = " ".join(str(error.details()).split())
        if code is _Code.UNAVAILABLE:
            return nothing_answers(address, message)
        hints = {_Code.NOT_FOUND: unknown_model(address), _Code.RESOURCE_EXHAUSTED: too_large()}
        hint = hints.get(code, "")
        return InputError(f"{address.url} answers with {code.name}: {message}{hint}")
