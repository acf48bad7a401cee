"""Presets of KerasHub: the optional package, and image converters with a fixed size."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tfrecords.core.errors import InputError


def import_keras_hub(user: str) -> Any:
    """Returns the package.

    Args:
        user: the kind of detector or the backbone that requires it, for the message.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("keras_hub")
    except ImportError as error:
        raise InputError(
            f"{user} needs KerasHub ({error}): pip install 'r2m[keras_hub]'"
        ) from error


@contextmanager
def opening_preset(kind: str, preset: str) -> Iterator[None]:
    """Converts any error raised while a preset is opened to an `InputError`.

    Args:
        kind: kind of model, for the message.
        preset: its name or folder.
    """
    try:
        yield
    except Exception as error:  # errors of downloads, JSON and HDF5 have no common base class
        raise InputError(f"KerasHub cannot open the {kind} {preset}: {str(error)[:500]}") from error


def sized_converter(preprocessor: Any, preset: str) -> Any:
    """Returns the image converter of a preprocessor.

    Raises:
        InputError: there is none, or it has no image size; names the preset.
    """
    converter = getattr(preprocessor, "image_converter", None)
    if converter is None or converter.image_size is None:
        raise InputError(
            f"the preprocessor of {preset} has no image size: save the preset with an image "
            "converter that has one"
        )
    return converter
