"""Addresses of models on servers, and connections to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from tfrecords.core.errors import InputError

PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds after which a request to a busy server is repeated."""


class Address(NamedTuple):
    """A signature of a model on a server.

    Attributes:
        url: URL of the server, such as `http://127.0.0.1:8501` or `grpc://127.0.0.1:8500`.
        model: name of the model.
        version: number of the version; None is the latest one.
        signature: name of the signature.
        seconds: maximum time for an answer, in seconds.
    """

    url: str
    model: str
    version: int | None = None
    signature: str = "serving_default"
    seconds: float = 60.0


class TensorNames(NamedTuple):
    """Names of the inputs and outputs of a signature."""

    inputs: Sequence[str]
    outputs: Sequence[str]


class Connection(Protocol):
    """Connection to a server; threads may share it.

    Attributes:
        address: address of the model.
    """

    address: Address

    def signatures(self) -> dict[str, TensorNames]:
        """Returns the signatures of the model by name; raises `InputError` without an answer."""

    def predict(self, images: Sequence[bytes]) -> dict[str, list[Any]]:
        """Returns the outputs for encoded images by name, with one entry per image.

        Repeats the request while the server is busy.

        Raises:
            InputError: the server rejects the request or does not respond.
        """


def nothing_answers(address: Address, reason: object) -> InputError:
    """Returns the error of a server that cannot be reached."""
    # r2m-serve does not support gRPC.
    server = "TensorFlow Serving" if address.url.lower().startswith("grpc://") else "r2m-serve"
    return InputError(
        f"no server answers at {address.url} ({reason}): start {server}, or give its --url"
    )


def too_slow(address: Address) -> InputError:
    """Returns the error of an answer that takes too long."""
    return InputError(
        f"no answer from {address.url} within {address.seconds:g} seconds: give a smaller "
        "--batch_size or a larger --timeout_seconds"
    )


def unknown_model(address: Address) -> str:
    """Returns the hint after the message of a server that does not have the model."""
    return f"; is the model named {address.model} there (--model)?"


def too_large() -> str:
    """Returns the hint after the message of a server that rejects a request for its size."""
    return "; give a smaller --batch_size"
