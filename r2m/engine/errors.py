"""The errors of the training engine."""

from __future__ import annotations

import re


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what to do."""


class TrainingInterrupted(TrainingError):
    """SIGTERM or SIGINT ended the training after its state was saved."""


def plain_message(message: str) -> str:
    """The line of a TensorFlow error's message that says what happened.

    Before it may stand where the graph was built, over many lines, and after it names of nodes.
    """
    lines = message.splitlines()
    stack = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    after = lines[stack[-1] + 1 :] if stack else lines
    said = next((line for line in after if line.strip() and not line[0].isspace()), message)
    return re.sub(r"{{.*?}}\s*|\s*\[\[{{.*|\s*\[Op:.*$", "", said)
