"""Checkpoints, written atomically and verified before they are restored.

A checkpoint is a folder `step-00001200` with a TensorFlow tensor bundle `variables.*` and
`checkpoint.json`. It is written under another name, synced to disk and renamed, so a folder with
that name is complete. Tensors are stored by name: `model/<variable>`, `optimizer/<position>` and,
for a run that averages its weights, `ema/<variable>`. The JSON file contains the entries that must
match before anything is restored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from r2m.engine.errors import TrainingError, plain_message
from r2m.engine.persistence.checkpoint_folders import BEST, LATEST, SIDECAR, UNFINISHED, folders_of
from r2m.engine.persistence.damage import FORMAT, find_damage, repair_advice
from r2m.engine.persistence.durable_files import clear_write_errors, digest, sync
from r2m.engine.persistence.variable_names import is_seed_state, variable_names

_BUNDLE = "variables"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint on disk.

    Attributes:
        folder: its folder.
        step: number of steps before it was saved.
        sidecar: contents of checkpoint.json.
    """

    folder: Path
    step: int
    sidecar: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Checksum of its files."""
        return f"{crc32(json.dumps(self.sidecar['files'], sort_keys=True).encode()):08x}"


# Writing ------------------------------------------------------------------------------------------


def snapshot(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    others: Mapping[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """Copies all variables; returns them by their names in a checkpoint.

    Args:
        model: model; all its variables are copied, including the seeds of random layers.
        optimizer: optimizer; all its variables are copied.
        others: further variables, by name.\n"""
    variables = _variables(model, optimizer, others)
    return {name: np.array(variable.numpy()) for name, variable in variables.items()}


def save(
    parent: Path,
    step: int,
    *,
    tensors: Mapping[str, np.ndarray],
    sidecar: Mapping[str, Any],
    keep: int,
) -> Checkpoint:
    """Writes a checkpoint to `parent/step-<step>` and removes all but the last `keep`.

    Args:
        parent: folder of the checkpoints; created if missing.
        step: number of steps before it is saved.
        tensors: result of `snapshot`.
        sidecar: JSON contents in addition to those of this function.
        keep: number of checkpoints to keep: this one and the preceding ones.

    Raises:
        TrainingError: it could not be written; earlier checkpoints are unchanged.
    """
    folder = parent / f"step-{step:08d}"
    unfinished = parent / f"{UNFINISHED}{folder.name}"
    with contextlib.ExitStack() as on_failure:
        on_failure.enter_context(clear_write_errors(folder, _hint_on_failure(parent)))
        on_failure.callback(_give_up, unfinished)
        parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        tf.raw_ops.SaveV2(
            prefix=str(unfinished / _BUNDLE),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
        files = {path.name: digest(path) for path in sorted(unfinished.iterdir())}
        contents = {"format": FORMAT, "step": step, **sidecar, "files": files}
        text = json.dumps(contents, indent=1)
        (unfinished / SIDECAR).write_text(text, encoding="utf-8")
        for path in (*unfinished.iterdir(), unfinished):
            sync(path)
        if folder.exists():
            _remove(folder)
        unfinished.rename(folder)
        sync(parent)
        # Later ones precede a resume from an earlier step, or are damaged.
        folders = folders_of(parent)
        kept = [path for path in folders if path.name <= folder.name][-keep:]
        for path in folders:
            if path not in kept:
                _remove(path)
    return Checkpoint(folder=folder, step=step, sidecar=contents)


def _hint_on_failure(parent: Path) -> str:
    kept = [f"earlier checkpoints, up to {x.name}, are complete; " for x in folders_of(parent)][-1:]
    return "".join([*kept, "make room or give access"])


def _give_up(unfinished: Path) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    if not folders_of(unfinished.parent):
        # Marks the first checkpoint as unfinished; otherwise it would appear to have been removed.
        with contextlib.suppress(OSError):
            unfinished.mkdir()


def clean(parent: Path) -> None:
    """Removes unfinished checkpoints of a killed run, and `parent` if it is then empty."""
    found = list(parent.glob(f"{UNFINISHED}*"))
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    if found:
        with contextlib.suppress(OSError):  # it is not empty
            parent.rmdir()


def _remove(folder: Path) -> None:
    # Renamed first: a partially removed checkpoint must not have the name of a complete one.
    obsolete = folder.with_name(f"{UNFINISHED}old-{folder.name}")
    shutil.rmtree(obsolete, ignore_errors=True)
    folder.rename(obsolete)
    shutil.rmtree(obsolete)


def _variables(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    others: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Returns all variables that a run resumes from, by their names in a checkpoint."""
    names = variable_names(model)
    return {
        **{f"model/{n}": variable for n, variable in zip(names, model.variables, strict=True)},
        **{f"optimizer/{i:05d}": variable for i, variable in enumerate(optimizer.variables)},
        **(others or {}),
    }


# Reading ------------------------------------------------------------------------------------------


def newest(parent: Path) -> Checkpoint | None:
    """Returns the newest undamaged checkpoint of `parent`, or None.

    Damaged checkpoints are skipped with a warning.

    Raises:
        TrainingError: there are checkpoints but all are damaged.
    """
    problems: list[str] = []
    for folder in reversed(folders_of(parent)):
        problem, sidecar = find_damage(folder)
        if problem is None:
            for one in problems:
                _warn_once(f"ignoring a damaged checkpoint: {one}")
            return Checkpoint(folder=folder, step=sidecar["step"], sidecar=sidecar)
        problems.append(f"{folder}: {problem}")
    if problems:
        raise TrainingError(
            f"all checkpoints in {parent} are damaged: {repair_advice(parent)}\n"
            + "\n".join(problems)
        )
    return None


@functools.cache
def _warn_once(message: str) -> None:
    """Logs a warning once, because a command may load the weights of a run several times."""
    logging.warning("%s", message)


def restore(
    checkpoint: Checkpoint,
    *,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    expected: Mapping[str, Any],
    others: Mapping[str, Any] | None = None,
) -> None:
    """Restores all variables of model and optimizer, to resume the run that saved them.

    Args:
        checkpoint: checkpoint to read.
        model: model of the same stage.
        optimizer: optimizer built for the same variables in the same order.
        expected: sidecar entries that must be equal: those of `describe_variables` and further
            dependencies of the run.
        others: further variables to set, by name.

    Raises:
        TrainingError: the checkpoint was saved by a different run; lists the differences.
    """
    for key, value in expected.items():
        _require_equal(checkpoint, key, checkpoint.sidecar.get(key), value)
    _assign(checkpoint, _variables(model, optimizer, others))


def best_or_latest(run_folder: Path | str) -> Checkpoint | None:
    """Returns the checkpoint with a run's weights: its best, else its latest, else None.

    Raises:
        TrainingError: there are checkpoints but all are damaged.
    """
    best = newest(Path(run_folder) / BEST)
    if best is not None:
        return best
    latest = newest(Path(run_folder) / LATEST)
    best_step = None if latest is None else latest.sidecar.get("state", {}).get("best_step")
    if latest is not None and best_step is not None:
        _warn_once(
            f"{Path(run_folder) / BEST} contains no checkpoint although step {best_step} was the "
            f"best: using step {latest.step} instead"
        )
    return latest


def require_best_or_latest(run_folder: Path | str) -> Checkpoint:
    """Returns the checkpoint of `best_or_latest`.

    Raises:
        TrainingError: the run has no complete checkpoint.
    """
    checkpoint = best_or_latest(run_folder)
    if checkpoint is not None:
        return checkpoint
    inside = sorted(path.parent.name for path in Path(run_folder).glob(f"*/{LATEST}"))
    hint = (
        f"did you mean one of its stages, {', '.join(inside)}?"
        if inside
        else "run that stage first"
    )
    raise TrainingError(f"no complete checkpoint in {run_folder}: {hint}")


def restore_model(
    model: keras.Model,
    source: Checkpoint | Path | str,
    fingerprint: Mapping[str, str],
    *,
    part: str = "",
    allow_unused: bool | Sequence[str] = False,
    allow_new: Sequence[str] = (),
) -> Checkpoint:
    """Restores the weights of `model` from a run's best (else latest) checkpoint.

    The checkpoint must contain every variable of the model with the same shape. Seeds of random
    layers and other variables of the run are not restored.

    Args:
        model: a built model, or a part of one.
        source: a verified checkpoint, or a run folder.
        fingerprint: compared with the run's by name; names on only one side are ignored.
        part: name of `model` inside the run's model, such as 'captioner'; '' if it was the whole
            model.
        allow_unused: whether the run may have variables (below `part`) that `model` lacks, or
            prefixes of their names.
        allow_new: prefixes of the names of variables that the run may lack; these keep their
            values.

    Returns:
        The checkpoint that contained the weights.

    Raises:
        TrainingError: there is no checkpoint, the fingerprint or shapes differ, variables are
            missing (they are named), or variables are unused.
    """
    checkpoint = source if isinstance(source, Checkpoint) else require_best_or_latest(source)
    saved_fingerprint = checkpoint.sidecar["fingerprint"]
    for key in sorted(set(fingerprint) & set(saved_fingerprint)):
        _require_equal(
            checkpoint, f"fingerprint of {key}", saved_fingerprint[key], fingerprint[key]
        )

    prefix = f"{part}/" if part else ""
    saved = {
        name.removeprefix(prefix): tuple(shape)
        for name, shape, _ in checkpoint.sidecar["variables"]
        if name.startswith(prefix) and not is_seed_state(name)
    }
    wanted = {
        name: variable
        for name, variable in zip(variable_names(model), model.variables, strict=True)
        if not is_seed_state(name) and (name in saved or not name.startswith(tuple(allow_new)))
    }
    problems = [f"missing: {name}" for name in wanted if name not in saved]
    problems += [
        f"shape of {name}: {saved[name]} in the checkpoint, {tuple(variable.shape)} in the model"
        for name, variable in wanted.items()
        if name in saved and saved[name] != tuple(variable.shape)
    ]
    if allow_unused is not True:
        passed = tuple(allow_unused or ())
        problems += [
            f"not in the model: {name}"
            for name in saved
            if name not in wanted and not name.startswith(passed)
        ]
    if problems:
        raise TrainingError(
            f"{checkpoint.folder} does not fit model {model.name!r}:\n  "
            + _first(problems, separator="\n  ")
        )
    _assign(checkpoint, {f"model/{prefix}{name}": v for name, v in wanted.items()})
    return checkpoint


def _assign(checkpoint: Checkpoint, variables: Mapping[str, Any]) -> None:
    try:
        reader = tf.train.load_checkpoint(str(checkpoint.folder / _BUNDLE))
        # Everything is read before anything is changed.
        values: dict[str, np.ndarray] = {name: reader.get_tensor(name) for name in variables}
    except (tf.errors.OpError, ValueError) as error:
        reason = plain_message(str(getattr(error, "message", error)))
        raise TrainingError(f"{checkpoint.folder} cannot be read: {reason}") from error
    for name, variable in variables.items():
        variable.assign(values[name])


def _require_equal(checkpoint: Checkpoint, what: str, saved: Any, current: Any) -> None:
    if isinstance(current, list) and isinstance(saved, list):
        pairs = [f"{item} only in the checkpoint" for item in saved if item not in current]
        pairs += [f"{item} only now" for item in current if item not in saved]
        if not pairs:  # the same items in another order
            pairs = [
                f"[{i}] {a} in the checkpoint, {b} now"
                for i, (a, b) in enumerate(zip(saved, current, strict=False))
                if a != b
            ]
    elif isinstance(current, Mapping) and isinstance(saved, Mapping):
        before, now = _flat(saved), _flat(current)
        pairs = [
            f"{name} {now.get(name)!r}, was {before.get(name)!r}"
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        ]
    else:
        pairs = [f"{current!r}, was {saved!r}"] if saved != current else []
    if pairs:
        raise TrainingError(
            f"{checkpoint.folder} was saved by a different run; {what} differ: {_first(pairs)}. "
            "Resume with the original settings and data, or give another --workdir"
        )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _first(problems: Sequence[str], *, separator: str = "; ", limit: int = 10) -> str:
    more = [f"and {len(problems) - limit} more"] if len(problems) > limit else []
    return separator.join([*problems[:limit], *more])
