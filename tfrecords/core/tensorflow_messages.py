"""Removal of operation names from TensorFlow's error messages."""

from __future__ import annotations

import re

_OPERATION = re.compile(r"\{\{[^}]*\}\}\s*|\s*\[Op:\w+\][^\n]*|\s*\[\[[^\n]*\]\]")


def plain_message(message: str) -> str:
    """Returns the message of a TensorFlow error without `{{function_node ...}}` and `[Op:...]`."""
    return _OPERATION.sub("", message)
