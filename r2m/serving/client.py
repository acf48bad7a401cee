"""Client of servers that speak TensorFlow Serving's REST interface: images to captions."""

from __future__ import annotations

import base64
import http.client
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from tfrecords.errors import InputError
from tfrecords.images.entries import ImageSource
from tfrecords.writing.shards import Skip

_IMAGES, _STATUS, _OK = "images", "status", "ok"
# The server is busy: asked again after these seconds.
_BUSY, _PAUSES = (429, 503), (0.5, 1.0, 2.0, 4.0)


class Address(NamedTuple):
    """A signature of a model on a server.

    Attributes:
        url: of the server, such as `http://127.0.0.1:8501`.
        model: its name.
        version: its number; None is the latest one.
        signature: its name.
        seconds: that an answer may take.
    """

    url: str
    model: str
    version: int | None = None
    signature: str = "serving_default"
    seconds: float = 60.0

    @property
    def path(self) -> str:
        """URL of the model."""
        found = f"{self.url.rstrip('/')}/v1/models/{urllib.parse.quote(self.model, safe='')}"
        return found if self.version is None else f"{found}/versions/{self.version}"


def check_address(address: Address) -> None:
    """Asks a server whether the signature takes images and returns captions.

    Raises:
        InputError: it does not, there is no such model, or nothing answers.
    """
    parts = urllib.parse.urlsplit(address.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"--url={address.url}: expected http://HOST:PORT")
    answer = _ask(address, f"{address.path}/metadata")
    try:
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        inputs, outputs = (
            {name: list(signature.get(side, {})) for name, signature in signatures.items()}
            for side in ("inputs", "outputs")
        )
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"{address.path}/metadata: the answer is not that of TensorFlow Serving"
        ) from None
    own = address.signature
    if own not in inputs:
        listed = ", ".join(sorted(inputs))
        raise InputError(f"model {address.model} has no signature {own}: it has {listed}")
    if inputs[own] != [_IMAGES] or "captions" not in outputs[own]:
        raise InputError(
            f"signature {own} of model {address.model} takes {', '.join(inputs[own])} and returns "
            f"{', '.join(outputs[own])}: expected images and captions"
        )


def caption_images(
    address: Address, images: Sequence[ImageSource], *, batch_size: int = 8, parallel: int = 4
) -> Iterator[dict[str, Any]]:
    """Yields the captions of images, in their order.

    Args:
        address: of a signature, see `check_address`.
        images: to read and to send.
        batch_size: images per request.
        parallel: requests at the same time.

    Yields:
        `image_id`, `status` and the outputs of the signature: `captions`, `scores`, `confidences`,
        lists; None for numbers that there are not. Images that cannot be read have no outputs.

    Raises:
        InputError: the server refuses a request, or does not answer.
    """
    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    with ThreadPoolExecutor(parallel) as pool:
        # A few requests ahead: images of all batches would not fit into memory.
        for start in range(0, len(batches), parallel):
            own = batches[start : start + parallel]
            for rows in pool.map(lambda batch: _caption(address, batch), own):
                yield from rows


def _caption(address: Address, images: Sequence[ImageSource]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    sent: list[dict[str, Any]] = []
    content: list[Any] = []
    for image in images:
        found = image.read()
        row: dict[str, Any] = {"image_id": image.name}
        rows.append(row)
        if isinstance(found, Skip):
            row[_STATUS] = f"{found.reason}: {found.detail}"
        else:
            sent.append(row)
            content.append({"b64": base64.b64encode(found).decode()})
    if not sent:
        return rows
    request = {"signature_name": address.signature, "inputs": {_IMAGES: content}}
    outputs = _ask(address, f"{address.path}:predict", request).get("outputs")
    if not isinstance(outputs, dict) or any(
        not isinstance(column, list) or len(column) != len(sent) for column in outputs.values()
    ):
        raise InputError(f"{address.path}: the answer does not have an entry per image")
    for place, row in enumerate(sent):
        row[_STATUS] = _OK  # of models without it
        row.update({name: _without_nan(column[place]) for name, column in outputs.items()})
    return rows


def _ask(address: Address, url: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the JSON object that a server answers with; asks again where it is busy."""
    data = None if content is None else json.dumps(content).encode()
    headers = {"Content-Type": "application/json"}
    for pause in (*_PAUSES, None):
        request = urllib.request.Request(url, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=address.seconds) as response:
                return _object(url, response.read())
        except urllib.error.HTTPError as error:
            if error.code not in _BUSY or pause is None:
                raise _refused(address, url, error) from None
            time.sleep(pause)
        except TimeoutError:
            raise _too_slow(address) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _too_slow(address) from None
            raise InputError(
                f"nothing answers at {address.url} ({error.reason}): start r2m-serve, or give its "
                "--url"
            ) from None
        except (http.client.HTTPException, OSError) as error:
            raise InputError(f"{url}: the connection broke off ({error!r})") from None
    raise AssertionError("the last attempt returns or raises")


def _refused(address: Address, url: str, error: urllib.error.HTTPError) -> InputError:
    try:
        message = json.loads(error.read())["error"]
    except (ValueError, KeyError, TypeError, OSError):
        message = error.reason
    cure = ""
    if error.code == 404:
        cure = f"; is the model called {address.model} there (--model)?"
    elif error.code == 413:
        cure = "; give a smaller --batch_size"
    return InputError(f"{url} answers with code {error.code}: {message}{cure}")


def _too_slow(address: Address) -> InputError:
    return InputError(
        f"no answer from {address.url} within {address.seconds:g} seconds: give a smaller "
        "--batch_size or a larger --timeout_seconds"
    )


def _object(url: str, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{url}: the answer is no JSON object; is it a server of models?")
    return found


def _without_nan(value: Any) -> Any:
    """Returns a value of an answer; TensorFlow Serving writes NaN, which JSON does not have."""
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
