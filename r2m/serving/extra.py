"""Packages of extras, imported where they are needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tfrecords.core.errors import InputError


@contextlib.contextmanager
def importing(extra: str) -> Iterator[None]:
    """Raises an `InputError` that names the extra if the body imports a missing package."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"a package is not installed ({error}): pip install 'r2m[{extra}]'"
        ) from error
