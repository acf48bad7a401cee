"""Connection to a server by TensorFlow Serving's REST interface."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from r2m.serving.address import (
    PAUSES,
    Address,
    TensorNames,
    nothing_answers,
    too_large,
    too_slow,
    unknown_model,
)
from tfrecords.core.errors import InputError

_BUSY = (429, 503)
_BROKEN = (http.client.HTTPException, OSError)  # errors of a connection


class RestConnection:
    """Connection by REST, see `Connection`."""

    def __init__(self, address: Address) -> None:
        """Checks the form of the URL without connecting.

        Raises:
            InputError: the URL has another form.
        """
        if not _is_url(address.url):
            raise InputError(
                f"--url={address.url}: expected http://HOST:PORT (REST) or grpc://HOST:PORT"
            )
        self.address = address
        name = urllib.parse.quote(address.model, safe="")
        version = "" if address.version is None else f"/versions/{address.version}"
        self._model = f"{address.url.rstrip('/')}/v1/models/{name}{version}"

    def signatures(self) -> dict[str, TensorNames]:
        """See `Connection`."""
        url = f"{self._model}/metadata"
        answer = self._ask(url)
        try:
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: TensorNames(list(own.get("inputs", {})), list(own.get("outputs", {})))
                for name, own in found.items()
            }
        except (KeyError, TypeError, AttributeError):
            raise InputError(f"{url}: the answer is not that of TensorFlow Serving") from None

    def predict(self, images: Sequence[bytes]) -> dict[str, list[Any]]:
        """See `Connection`."""
        encoded = [{"b64": base64.b64encode(data).decode()} for data in images]
        content = {"signature_name": self.address.signature, "inputs": {"images": encoded}}
        url = f"{self._model}:predict"
        outputs = self._ask(url, content).get("outputs")
        if isinstance(outputs, list):  # value of the only output of a signature
            outputs = {"captions": outputs}
        if not isinstance(outputs, dict) or not all(isinstance(x, list) for x in outputs.values()):
            raise InputError(f"{url}: the answer is not that of TensorFlow Serving")
        return outputs

    def _ask(self, url: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Returns the JSON object of the server's response."""
        data = None if content is None else json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        for pause in (*PAUSES, None):
            request = urllib.request.Request(url, data, headers)
            try:
                with urllib.request.urlopen(request, timeout=self.address.seconds) as response:
                    return _object(url, response.read())
            except urllib.error.HTTPError as error:
                if error.code not in _BUSY or pause is None:
                    raise self._refused(url, error) from None
                time.sleep(pause)
            except TimeoutError:
                raise too_slow(self.address) from None
            except urllib.error.URLError as error:
                if isinstance(error.reason, TimeoutError):
                    raise too_slow(self.address) from None
                raise nothing_answers(self.address, error.reason) from None
            except _BROKEN as error:
                raise InputError(f"{url}: the connection was interrupted ({error!r})") from None
        raise AssertionError("the last attempt returns or raises")

    def _refused(self, url: str, error: urllib.error.HTTPError) -> InputError:
        try:
            message = json.loads(error.read())["error"]
        except (*_BROKEN, ValueError, KeyError, TypeError, RecursionError):
            message = error.reason
        hints = {404: unknown_model(self.address), 413: too_large()}
        hint = hints.get(error.code, "")
        return InputError(f"{url} answers with code {error.code}: {message}{hint}")


def _is_url(url: str) -> bool:
    """Returns whether a text is the URL of an HTTP server."""
    if not url.isprintable() or " " in url:
        return False
    try:
        parts = urllib.parse.urlsplit(url)
        host = (parts.hostname or "").encode("idna")  # raises UnicodeError for invalid names
        _ = parts.port  # raises ValueError where it is not a number up to 65,535
    except ValueError:
        return False
    is_path = parts.path.isascii() and not parts.query and not parts.fragment
    return parts.scheme in ("http", "https") and bool(host) and is_path


def _object(url: str, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"{url}: the answer is not a JSON object; is this the URL of a model server?"
        )
    return found
