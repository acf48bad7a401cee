"""Client of servers with TensorFlow Serving's interface: images to captions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from r2m.serving.address import Address, Connection
from r2m.serving.extra import importing
from r2m.serving.rest_connection import RestConnection
from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.pictures.named_images import ImageSource

_STATUS, _OK = "status", "ok"


def connect(address: Address) -> Connection:
    """Returns the connection to a server, by REST (`http://`, `https://`) or gRPC (`grpc://`).

    Raises:
        InputError: the URL has another form, or the package of gRPC is not installed.
    """
    if not address.url.lower().startswith("grpc://"):
        return RestConnection(address)
    with importing("grpc"):
        from r2m.serving.grpc_connection import GrpcConnection

    return GrpcConnection(address)


def check_signature(connection: Connection) -> None:
    """Checks with a server that the signature reads images and returns captions.

    Raises:
        InputError: it does not, the model does not exist, or no server responds.
    """
    address, signatures = connection.address, connection.signatures()
    if address.signature not in signatures:
        listed = ", ".join(sorted(signatures))
        raise InputError(
            f"model {address.model} has no signature {address.signature}: it has {listed}"
        )
    own = signatures[address.signature]
    if list(own.inputs) != ["images"] or "captions" not in own.outputs:
        raise InputError(
            f"signature {address.signature} of model {address.model} takes "
            f"{', '.join(own.inputs)} and returns {', '.join(own.outputs)}: expected images and "
            "captions"
        )


def caption_images(
    connection: Connection, images: Sequence[ImageSource], *, batch_size: int = 8, parallel: int = 4
) -> Iterator[dict[str, Any]]:
    """Yields the captions of images, in order.

    Args:
        connection: connection to a server, see `check_signature`.
        images: images to read and send.
        batch_size: images per request.
        parallel: requests at the same time.

    Yields:
        `image_id`, `status` and the outputs of the signature: lists `captions`, `scores`,
            `confidences`, with None for missing numbers. Unreadable images have no outputs.

    Raises:
        InputError: the server rejects a request or does not respond.
    """
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    with ThreadPoolExecutor(parallel) as pool:
        # Only a few requests in advance, because images of all batches would not fit into memory.
        for start in range(0, len(batches), parallel):
            own = batches[start : start + parallel]
            for rows in pool.map(lambda batch: _caption(connection, batch), own):
                yield from rows


def _caption(connection: Connection, images: Sequence[ImageSource]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    sent: list[dict[str, Any]] = []
    content: list[bytes] = []
    for image in images:
        found = image.read()
        row: dict[str, Any] = {"image_id": image.name}
        rows.append(row)
        if isinstance(found, Skip):
            row[_STATUS] = f"{found.reason}: {found.detail}"
        else:
            sent.append(row)
            content.append(found)
    if not sent:
        return rows
    outputs = connection.predict(content)
    if any(len(column) != len(sent) for column in outputs.values()):
        raise InputError(f"{connection.address.url}: the answer does not have an entry per image")
    for place, row in enumerate(sent):
        row[_STATUS] = _OK  # for models without a status
        row.update({name: _without_nan(column[place]) for name, column in outputs.items()})
    return rows


def _without_nan(value: Any) -> Any:
    """Returns a value of a response with None for NaN, which JSON lacks."""
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
