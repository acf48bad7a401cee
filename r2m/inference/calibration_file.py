"""Calibrations of a run's confidences, in `confidence.json` of its run folder.

A calibration is valid for the weights and decoding settings that it was fitted with. The file has
one per setting; writing it removes those of other weights. The calibrations of an ensemble are in
the folder of its first member.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from r2m.evaluation.confidence import Calibration, Reliability
from r2m.evaluation.output_files import write_whole

CALIBRATION_FILE = "confidence.json"
_FORMAT = 1
_HINT = (
    "r2m-evaluate on the validation split, with the same runs and decoding flags, writes it, or "
    "reports why it cannot"
)


class StoredCalibration(NamedTuple):
    """A calibration of a run.

    Attributes:
        calibration: from mean log probability to confidence.
        fitted_on: name of the records and their split.
    """

    calibration: Calibration
    fitted_on: str


def write_calibration(
    folder: Path,
    identity: Mapping[str, Any],
    stored: StoredCalibration,
    reliability: Reliability,
) -> Path:
    """Writes a calibration and replaces an earlier one of the same weights and settings.

    Args:
        folder: folder of the (first) run.
        identity: see `Run.identity`.
        stored: the calibration.
        reliability: reliability of the confidences that it gives.

    Raises:
        InputError: the disk is full, or the folder is not writable.
    """
    key = _key(identity)
    entry = {
        "identity": key,
        "fitted_on": stored.fitted_on,
        "calibration": asdict(stored.calibration),
        "reliability": asdict(reliability),
    }
    path = folder / CALIBRATION_FILE
    kept = [
        other
        for other in _entries(path) or []
        if other["identity"] != key and other["identity"]["checkpoints"][0] == key["checkpoints"][0]
    ]
    content = {"format": _FORMAT, "calibrations": [*kept, entry]}
    return write_whole(path, json.dumps(content, indent=1) + "\n")


def read_calibration(folder: Path, identity: Mapping[str, Any]) -> StoredCalibration | None:
    """Returns the calibration of a run; without one, logs a note and returns None.

    Args:
        folder: folder of the (first) run.
        identity: see `Run.identity`.
    """
    path, key = folder / CALIBRATION_FILE, _key(identity)
    entries = _entries(path)
    if entries is None:
        logging.info("captions have no confidence: %s does not exist; %s", path, _HINT)
        return None
    for entry in entries:
        if entry["identity"] == key:
            return StoredCalibration(Calibration(**entry["calibration"]), entry["fitted_on"])
    logging.warning("captions have no confidence: %s %s; %s", path, _mismatch(entries, key), _HINT)
    return None


def _mismatch(entries: list[dict[str, Any]], key: Mapping[str, Any]) -> str:
    """Returns the reason why no calibration matches `key`."""
    if not entries:
        return "contains no readable calibration"
    identities = [entry["identity"] for entry in entries]
    same = [found for found in identities if found["checkpoints"] == key["checkpoints"]]
    if not same:
        return (
            f"was fitted with other weights, of step {_steps(identities[-1]['checkpoints'])} (now: "
            f"step {_steps(key['checkpoints'])})"
        )
    theirs, ours = _flat(same[-1]), _flat(key)
    differ = [
        f"{name} {theirs.get(name)}, now {ours.get(name)}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    return f"was fitted with other decoding settings ({'; '.join(differ)})"


def _flat(key: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings, apart from the weights, that determine captions, by name."""
    others = {name: value for name, value in key.items() if name != "checkpoints"}
    return {**others.pop("decoding", {}), **others}


def _steps(checkpoints: list[dict[str, Any]]) -> str:
    return ", ".join(str(checkpoint["step"]) for checkpoint in checkpoints)


def _key(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the part of an identity that calibrations depend on, as JSON restores it."""
    checkpoints = [
        {name: checkpoint[name] for name in ("step", "digest")}
        for checkpoint in identity["checkpoints"]
    ]
    restored: dict[str, Any] = json.loads(json.dumps({**identity, "checkpoints": checkpoints}))
    return restored


def _entries(path: Path) -> list[dict[str, Any]] | None:
    """Returns the complete calibrations of a file; None if the file does not exist."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=_current_names)
        listed = content["calibrations"] if content["format"] == _FORMAT else []
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        listed = []
    return [entry for entry in listed if _is_whole(entry)]


def _current_names(read: dict[str, Any]) -> dict[str, Any]:
    """Returns an object with the current names of decoding settings."""
    return {"neighbors" if name == "neighbours" else name: value for name, value in read.items()}


def _is_whole(entry: Any) -> bool:
    try:
        names = {field.name for field in fields(Calibration)}
        numbers = entry["calibration"].values()
        return (
            bool(_key(entry["identity"])["checkpoints"])
            and isinstance(entry["fitted_on"], str)
            and set(entry["calibration"]) == names
            and all(isinstance(number, int | float) for number in numbers)
        )
    except (KeyError, TypeError, AttributeError):
        return False
