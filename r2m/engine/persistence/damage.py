"""Detection of damaged checkpoints, and advice if all are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from r2m.engine.persistence.checkpoint_folders import BEST, LATEST, SIDECAR, folders_of
from r2m.engine.persistence.durable_files import digest

FORMAT = 1


def repair_advice(parent: Path) -> str:
    """Returns advice for a folder whose checkpoints are all damaged."""
    if parent.name == BEST:
        others = [
            path for path in folders_of(parent.parent / LATEST) if find_damage(path)[0] is None
        ]
        if others:
            return (
                f"restore them from a copy, or remove {parent}: then the weights of "
                f"{others[-1]} are used, which differ from the best"
            )
    elif any(find_damage(path)[0] is None for path in folders_of(parent.parent / BEST)):
        return (
            "restore them from a copy, or train in another --workdir from this run's best weights "
            f"(--init_from={parent.parent})"
        )
    return f"restore them from a copy, or remove {parent.parent} to train this stage from the start"


def find_damage(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """Returns the damage of a checkpoint, or None, and the contents of its checkpoint.json."""
    path = folder / SIDECAR
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        if sidecar.get("format") != FORMAT:
            return f"{path.name} has format {sidecar.get('format')}, expected {FORMAT}", {}
        for name, expected in sidecar["files"].items():
            if digest(folder / name) != expected:
                return f"{name} is damaged: expected the {expected['bytes']} bytes saved", {}
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing", {}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        return f"{path.name} cannot be read: {error}", {}
    return None, sidecar
