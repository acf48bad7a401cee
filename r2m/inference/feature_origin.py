"""Origin of image features: only features of one network, made alike, go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfrecords.errors import InputError


def check_same_origin(
    one: str, ours: Mapping[str, Any] | None, other: str, theirs: Mapping[str, Any] | None
) -> None:
    """Raises `InputError` unless features come from the same network with the same options.

    Args:
        one: whose features, for the message.
        ours: the backbone in the options of records; None where features were made elsewhere.
        other: as `one`.
        theirs: as `ours`.
    """
    elsewhere = {"name": "made elsewhere"}
    a, b = ours or elsewhere, theirs or elsewhere
    # How many images went through it at a time makes no difference.
    differ = [key for key in a if key in b and a[key] != b[key] and key != "batch_size"]
    if differ:
        raise InputError(
            f"features were made in two ways: {one} with {_listed(a, differ)}, {other} with "
            f"{_listed(b, differ)}; the same network has to make both"
        )


def _listed(backbone: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {backbone[key]!r}" for key in keys)
