"""TensorFlow's messages without the names of operations that they carry."""

from __future__ import annotations

import re

_OPERATION = re.compile(r"\{\{[^}]*\}\}\s*|\s*\[Op:\w+\][^\n]*|\s*\[\[[^\n]*\]\]")


def plain_message(message: str) -> str:
    """Returns the message of a TensorFlow error without `{{function_node ...}}` and `[Op:...]`."""
    return _OPERATION.sub("", message)
