"""Reader of a run's metrics.jsonl. Needs no TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path

from r2m.engine.errors import TrainingError

METRICS = "metrics.jsonl"


def read_metrics(workdir: Path) -> list[dict[str, float]]:
    """Returns the lines of a run's metrics.jsonl; empty if it is missing.

    An incomplete last line, as left by a killed process, is ignored.

    Raises:
        TrainingError: another line does not contain metrics; the message names it.
    """
    path = workdir / METRICS
    if not path.is_file():
        return []
    # Bytes, because damaged text may not be UTF-8.
    *lines, _ = path.read_bytes().split(b"\n")
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]


def _parse(line: bytes, where: str) -> dict[str, float]:
    try:
        metrics = json.loads(line)
        if isinstance(metrics, dict) and isinstance(metrics["step"], int):
            return metrics
    except (ValueError, KeyError):
        pass
    raise TrainingError(
        f"{where}: expected an object of metrics with `step`, found {line[:60]!r}; the line is "
        "damaged: correct or remove it (the checkpoints do not depend on it)"
    )
