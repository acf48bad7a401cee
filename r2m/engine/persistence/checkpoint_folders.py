"""Names of checkpoints in a run folder, known without TensorFlow."""

from __future__ import annotations

import re
from pathlib import Path

LATEST, BEST = "checkpoints", "best"
UNFINISHED = ".unfinished-"
SIDECAR = "checkpoint.json"


def begun(workdir: Path) -> bool:
    """Returns whether a run folder contains an unfinished checkpoint."""
    return any(any((workdir / name).glob(f"{UNFINISHED}step-*")) for name in (LATEST, BEST))


def folders_of(parent: Path) -> list[Path]:
    """Returns the checkpoints in a folder, complete or not, oldest first."""
    found = parent.glob("step-*") if parent.is_dir() else ()
    return sorted(path for path in found if re.fullmatch(r"step-\d{8,}", path.name))
