"""List of the runs below a folder, described from their files, which are only read."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.hparams import flatten
from r2m.engine.monitoring.metrics_file import METRICS, read_metrics
from r2m.engine.persistence.checkpoint_folders import BEST, LATEST, SIDECAR, folders_of

CONFIG = "config.json"
# Minimum contents of a run's config.json; other tools also use files of that name.
_FIELDS = {"stage", "config", "training"}

RunStatus = Literal["running", "finished", "stopped", "damaged"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A run in the list of `r2m-runs`.

    Attributes:
        folder: its folder.
        experiment: name in its configuration, else name of the parent folder.
        stage: stage that was trained.
        step: number of saved steps; for a running run, of logged steps.
        steps: planned number of steps.
        best_metric: metric that selects its best checkpoint; None without any.
        best_value: best value so far; None before the first evaluation.
        best_step: step of the best value.
        changed: time of its last write.
        state: `running` (a process has locked it), `finished`, `stopped` (before its last step), or
            `damaged` (config.json or all checkpoints cannot be read).
    """

    folder: Path
    experiment: str
    stage: str
    step: int
    steps: int
    best_metric: str | None
    best_value: float | None
    best_step: int | None
    changed: datetime
    state: RunStatus


def find_runs(workspace: Path | str) -> list[Run]:
    """Returns all runs in `workspace` and below, by path.

    Raises:
        TrainingError: the folder does not exist, or contains no run.
    """
    workspace = Path(workspace)
    if not workspace.is_dir():
        raise TrainingError(f"no such folder: {workspace}; give one with --workspace")
    runs = [read_run(folder) for folder in _run_folders(workspace)]
    if not runs:
        raise TrainingError(
            f"no run in {workspace} or below: expected folders with {CONFIG}, as written by the "
            "training commands to their --workdir"
        )
    return runs


def _run_folders(workspace: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(workspace):
        folders.sort()
        if CONFIG in files and (LATEST in folders or read_config(Path(path)) is not None):
            folders.clear()
            yield Path(path)


def read_run(folder: Path) -> Run:
    """Describes a run from the files of its folder."""
    config = read_config(folder)
    training = (config or {}).get("training", {})
    whole, problems = _newest_state(folder / LATEST)
    best, _ = _newest_state(folder / BEST)
    metric = training.get("best_metric")
    step = whole.get("step", 0)
    state: RunStatus = "stopped"
    if _is_locked(folder):
        state = "running"
        with contextlib.suppress(TrainingError):  # a damaged line must not hide the other runs
            step = max([step, *(int(line["step"]) for line in read_metrics(folder)[-1:])])
    elif config is None or (problems and not whole):
        state = "damaged"
    elif step >= training["steps"]:
        state = "finished"
    watched = (folder / CONFIG, folder / METRICS, folder / LATEST, folder / BEST)
    changed = max(path.stat().st_mtime for path in watched if path.exists())
    return Run(
        folder=folder,
        experiment=(config or {}).get("config", {}).get("name") or folder.resolve().parent.name,
        stage=(config or {}).get("stage", folder.name),
        step=step,
        steps=training.get("steps", 0),
        best_metric=metric,
        best_value=best.get("best_metrics", {}).get(metric),
        best_step=best.get("best_step"),
        changed=datetime.fromtimestamp(changed).astimezone(),
        state=state,
    )


def compare_configs(
    folders: Sequence[Path | str],
    upgrade_settings: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> dict[str, list[Any]]:
    """Returns the settings in which runs differ: dotted name -> value per run, None where absent.

    Args:
        folders: folders of the runs.
        upgrade_settings: converts configurations of earlier versions to the form of this version.

    Raises:
        TrainingError: there are fewer than two runs, or a folder is not a run folder.
    """
    if len(folders) < 2:
        raise TrainingError(f"{len(folders)} run to compare, expected at least two")
    configs = []
    for folder in folders:
        config = read_config(Path(folder))
        if config is None:
            raise TrainingError(
                f"{folder} is not the folder of a run: it has no readable {CONFIG}; expected "
                "something like workspace/runs/<experiment>/xe"
            )
        configs.append(flatten({**config, "config": upgrade_settings(config["config"])}))
    names = dict.fromkeys(name for config in configs for name in config)
    values = {name: [config.get(name) for config in configs] for name in names}
    return {name: found for name, found in values.items() if any(v != found[0] for v in found)}


def read_config(folder: Path) -> dict[str, Any] | None:
    """Returns a run's config.json; None if it cannot be read or has other contents."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) and config.keys() >= _FIELDS else None


def _newest_state(parent: Path) -> tuple[dict[str, Any], int]:
    """Returns the state of the newest apparently complete checkpoint, and the number of newer ones.

    Only sizes are compared, not contents, because a list of runs must not read gigabytes.
    """
    folders = folders_of(parent)
    for damaged, folder in enumerate(reversed(folders)):
        try:
            sidecar = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
            sizes = {name: file["bytes"] for name, file in sidecar["files"].items()}
            if all((folder / name).stat().st_size == size for name, size in sizes.items()):
                return sidecar["state"], damaged
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}, len(folders)


def _is_locked(folder: Path) -> bool:
    """Returns whether a process trains in a folder; releases the lock for this test at once."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
