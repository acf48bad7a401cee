"""Errors of the training engine."""

from __future__ import annotations

import re


class TrainingError(RuntimeError):
    """Error for training that cannot start or continue; states the reason and the remedy."""


class TrainingInterrupted(TrainingError):
    """Error for training that SIGTERM or SIGINT ended after its state was saved."""


def plain_message(message: str) -> str:
    """Returns the line of a TensorFlow error's message that describes the error.

    It may be preceded by many lines about the construction of the graph, and followed by node
    names.
    """
    lines = message.splitlines()
    # A loaded SavedModel has no stack.
    marks = ("  File ", "<stack traces unavailable>")
    stack = [number for number, line in enumerate(lines) if line.startswith(marks)]
    after = lines[stack[-1] + 1 :] if stack else lines
    said = next((line for line in after if line.strip() and not line[0].isspace()), message)
    return re.sub(r"{{.*?}}\s*|\s*\[\[{{.*|\s*\[Op:.*$", "", said)
