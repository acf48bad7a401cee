"""The REST contract of TensorFlow Serving: JSON of predict requests to arrays, and back.

Row format: `{"instances": [...]}` -> `{"predictions": [...]}`, an entry per item. Columnar format:
`{"inputs": {...}}` -> `{"outputs": {...}}`, a list of items per tensor. Bytes are written as
`{"b64": "..."}`. https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

STRING = "string"
DEFAULT_SIGNATURE = "serving_default"
# Maximum length of rows, such as the concepts of an image.
MOST_ENTRIES = 1000

_SHOWN = 80  # maximum length of a client's value in messages
_FIELDS = ("signature_name", "instances", "inputs")
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "f": ((int, float), "numbers"),
    "i": ((int,), "whole numbers"),
    "u": ((int,), "whole numbers"),
    "b": ((bool,), "true or false"),
}


class RequestError(Exception):
    """Error of a request that cannot be answered.

    Attributes:
        code: HTTP status code.
    """

    def __init__(self, code: int, message: str) -> None:
        """Creates the error with a status code and a message for the client."""
        super().__init__(message)
        self.code = code


class TensorInfo(NamedTuple):
    """A tensor of a signature.

    Attributes:
        dtype: `string`, or a name of numpy.
        shape: shape with the batch first; None for any size.
    """

    dtype: str
    shape: tuple[int | None, ...]


class PredictRequest(NamedTuple):
    """A predict request.

    Attributes:
        signature: name of the signature.
        inputs: column [B, ...] by name; strings are objects of type bytes.
        by_row: whether request and response have the row format.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    by_row: bool


def parse_predict(
    body: bytes, signatures: Mapping[str, Mapping[str, TensorInfo]], most_items: int
) -> PredictRequest:
    """Reads the body of a predict request.

    Args:
        body: JSON.
        signatures: inputs by name, by name of a signature.
        most_items: B at most.

    Raises:
        RequestError: 400 if the body does not match the contract or the signature.
    """
    content = _parse_json(body)
    if not isinstance(content, dict):
        raise _bad(
            'the body is not a JSON object: expected {"instances": [...]} or {"inputs": {...}}'
        )
    unknown = [name for name in content if name not in _FIELDS]
    if unknown:
        raise _bad(f"unknown field {shown(unknown[0])}: the fields are {', '.join(_FIELDS)}")
    name = content.get("signature_name") or DEFAULT_SIGNATURE
    if not isinstance(name, str) or name not in signatures:
        raise _bad(f"no signature {shown(name)}: the model has {', '.join(sorted(signatures))}")
    if ("instances" in content) == ("inputs" in content):
        raise _bad('expected either "instances" (row format) or "inputs" (columnar format)')
    infos = signatures[name]
    by_row = "instances" in content
    columns = _rows(content["instances"], infos) if by_row else _columns(content["inputs"], infos)
    for missing in infos.keys() - columns.keys():
        raise _bad(f"input {missing} is missing: signature {name} takes {', '.join(infos)}")
    for extra in columns.keys() - infos.keys():
        raise _bad(f"no input {shown(extra)}: signature {name} takes {', '.join(infos)}")
    inputs = {own: to_array(columns[own], info, own) for own, info in infos.items()}
    sizes = {own: len(column) for own, column in inputs.items()}
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{own} {size}" for own, size in sizes.items())
        raise _bad(f"inputs have different numbers of items: {counts}")
    items = next(iter(sizes.values()))
    if not 0 < items <= most_items:
        raise _bad(f"{items} items: expected 1 to {most_items} per request")
    return PredictRequest(name, inputs, by_row)


def predict_answer(outputs: Mapping[str, np.ndarray], by_row: bool) -> dict[str, Any]:
    """Returns the JSON object that answers a predict request.

    Args:
        outputs: column [B, ...] by name.
        by_row: whether the request had the row format.
    """
    if by_row:
        rows = items_of(outputs)
        return {"predictions": [next(iter(row.values())) if len(row) == 1 else row for row in rows]}
    columns = {name: to_json(column, name) for name, column in outputs.items()}
    return {"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}


def items_of(outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Returns an object per item of columns [B, ...], for JSON."""
    columns = [to_json(column, name) for name, column in outputs.items()]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)]


def to_json(column: np.ndarray, name: str) -> list[Any]:
    """Returns a column as lists for JSON; NaN and infinity become null.

    Strings are text, or `{"b64": ...}` if the name ends in `_bytes`.
    """
    if column.dtype.kind == "O":
        as_bytes = name.endswith("_bytes")
        flat = [_string(value, as_bytes) for value in column.ravel()]
        texts = np.empty(len(flat), object)
        texts[:] = flat
        return texts.reshape(column.shape).tolist()
    if column.dtype.kind == "f" and not (finite := np.isfinite(column)).all():
        objects = column.astype(object)
        objects[~finite] = None
        return objects.tolist()
    return column.tolist()


def to_bytes(content: Any) -> bytes:
    """Returns JSON; halves of surrogate pairs, which clients may send, are escaped."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def to_array(value: Any, info: TensorInfo, name: str) -> np.ndarray:
    """Returns a tensor of a request as an array.

    Raises:
        RequestError: 400 if the value has another shape or type.
    """
    level, sizes = [value], []
    for axis, expected in enumerate(info.shape):
        found = {len(one) if isinstance(one, list) else -1 for one in level}
        wanted = f"expected shape {shape_text(info.shape)}"
        if -1 in found:
            raise _bad(f"input {name} has a value where a list belongs: {wanted}")
        if len(found) > 1:
            hint = ""
            if expected is None:
                hint = "; pad rows to one length, where the signature has their lengths"
            raise _bad(f"input {name} has lists of different lengths: {wanted}{hint}")
        size = found.pop() if found else expected or 0
        if expected is not None and size != expected:
            raise _bad(f"input {name} has a list of {size} entries: {wanted}")
        if axis and size > MOST_ENTRIES and expected is None:
            raise _bad(f"input {name} has a list of {size} entries: at most {MOST_ENTRIES}")
        sizes.append(size)
        level = [entry for one in level for entry in one]
    if info.dtype == STRING:
        flat = np.empty(len(level), object)
        flat[:] = [_bytes(entry, name) for entry in level]
    else:
        flat = _numbers(level, info, name)
    return flat.reshape(sizes)


def shape_text(shape: Sequence[int | None]) -> str:
    """Returns a shape with `-1` for any size, as in TensorFlow Serving."""
    return f"[{', '.join('-1' if size is None else str(size) for size in shape)}]"


def shown(value: Any) -> str:
    """Returns a value from a client, shortened, for a message."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError:
        raise _bad("the body cannot be read as JSON: it is nested too deeply") from None
    except ValueError as error:
        raise _bad(f"the body is not JSON: {error}") from None


def _rows(instances: Any, infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Returns the columns of a request in row format."""
    if not isinstance(instances, list):
        raise _bad('"instances" is not a list: expected an entry per item')
    columns: dict[str, list[Any]] = {}
    for place, instance in enumerate(instances):
        row = _named(instance, infos, f"instance {place}")
        if place and row.keys() != columns.keys():
            raise _bad(f"instance {place} has other inputs than instance 0")
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns if instances else {name: [] for name in infos}


def _columns(inputs: Any, infos: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Returns the columns of a request in columnar format."""
    return _named(inputs, infos, '"inputs"')


def _named(value: Any, infos: Mapping[str, TensorInfo], where: str) -> dict[str, Any]:
    """Returns values by name; the only input of a signature needs none."""
    if isinstance(value, dict) and value.keys() != {"b64"}:
        return value
    if len(infos) != 1:
        raise _bad(f"{where} is not a JSON object with the inputs {', '.join(infos)}")
    return {next(iter(infos)): value}


def _bytes(entry: Any, name: str) -> bytes:
    try:
        if isinstance(entry, str):
            return entry.encode()
        if isinstance(entry, dict) and entry.keys() == {"b64"} and isinstance(entry["b64"], str):
            return base64.b64decode(entry["b64"], validate=True)
    except UnicodeEncodeError:
        raise _bad(f"input {name} has text that is not Unicode") from None
    except ValueError as error:
        raise _bad(f"input {name} has no standard base64: {error}") from None
    raise _bad(f'input {name} has {shown(entry)}: expected text or {{"b64": "..."}}')


def _numbers(flat: list[Any], info: TensorInfo, name: str) -> np.ndarray:
    dtype = np.dtype(info.dtype)
    types, expected = _KINDS[dtype.kind]
    for entry in flat:
        if type(entry) not in types:
            raise _bad(f"input {name} has {shown(entry)}: expected {expected}")
    try:
        with np.errstate(over="ignore"):  # infinities get a status from the model
            return np.array(flat, dtype)
    except OverflowError:
        raise _bad(f"input {name} has a number that does not fit {info.dtype}") from None


def _string(value: Any, as_bytes: bool) -> Any:
    if as_bytes:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _bad(message: str) -> RequestError:
    return RequestError(400, message)
