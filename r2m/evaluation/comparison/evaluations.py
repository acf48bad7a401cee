"""Evaluations of runs on disk, found by their folders and read with their reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r2m.evaluation.result_files import LabeledCaptions, read_any_predictions
from tfrecords.core.errors import InputError

RECORDS_FOLDER = "records folder"
"""Setting of a report: the folder of its records, relative to the folder of the report."""

_RUN_CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Captions of a run over the images of a split.

    Attributes:
        name: short unique name.
        predictions: file of the captions.
        captions: captions, one per image.
        report: their report by `r2m-evaluate`; empty without a report.
    """

    name: str
    predictions: Path
    captions: Sequence[LabeledCaptions]
    report: Mapping[str, Any]

    def settings(self) -> dict[str, str]:
        """Returns the settings of the evaluation that its report names, as text."""
        found: dict[str, str] = {}
        for group in ("settings", "decode"):
            own = self.report.get(group)
            if isinstance(own, Mapping):
                found |= {str(name): str(value) for name, value in own.items()}
        return found


def read_evaluations(sources: Sequence[str | Path], split: str) -> list[Evaluation]:
    """Reads several evaluations.

    Args:
        sources: folders of `r2m-evaluate`, run folders of a stage or an experiment that contain
            such a folder `predictions`, or files of predictions in any format of `r2m-score`.
        split: name of the split of the predictions in the folders.

    Raises:
        InputError: there are fewer than two sources, one is named twice, or one has no predictions.
    """
    if len(sources) < 2:
        raise InputError(
            f"a comparison needs two runs or more, found {len(sources)}: give their folders, as in "
            "r2m-compare RUN RUN --output=FOLDER"
        )
    files = [find_predictions(Path(source), split) for source in sources]
    for place, file in enumerate(files):
        for other in range(place):
            if file.samefile(files[other]):
                raise InputError(f"{sources[place]} and {sources[other]} are both {file}")
    return [
        Evaluation(
            name=name,
            predictions=file,
            captions=read_any_predictions(str(file)),
            report=_report(file),
        )
        for name, file in zip(_names([Path(source) for source in sources]), files, strict=True)
    ]


def find_predictions(source: Path, split: str) -> Path:
    """Returns the file of predictions in a folder; a file is returned unchanged.

    Raises:
        InputError: there is no such file, or several.
    """
    if source.is_file():
        return source
    if not source.is_dir():
        raise InputError(f"{source}: no such folder or file of predictions")
    name = f"{split}.predictions.json"
    for pattern in (name, f"predictions/{name}", f"*/predictions/{name}", "captions.json"):
        found = sorted(source.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            stages = ", ".join(str(file.parent.parent) for file in found)
            raise InputError(f"{source} contains several evaluated stages: give one of {stages}")
    others = sorted({file.name.split(".")[0] for file in source.rglob("*.predictions.json")})
    hint = (
        f"it has predictions of {', '.join(others)}: choose with --split"
        if others
        else f"r2m-evaluate --run={source} --split={split} --records=FOLDER writes them"
    )
    raise InputError(f"{source} contains no {name}: {hint}")


def _report(predictions: Path) -> dict[str, Any]:
    """Returns the report in the folder of a file of predictions; empty if unreadable."""
    file = predictions.with_name(predictions.name.replace(".predictions.", ".report."))
    if file == predictions or not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _names(sources: Sequence[Path]) -> list[str]:
    """Returns the shortest unique ends of paths; for runs, experiment and stage."""
    parts = [_parts(source) for source in sources]
    longest = max(map(len, parts))
    least = 2 if any((source / _RUN_CONFIG).is_file() for source in sources) else 1
    for length in range(least, longest + 1):
        names = ["/".join(own[-length:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return [str(source) for source in sources]


def _parts(source: Path) -> tuple[str, ...]:
    resolved = source.absolute()
    return (resolved.parent if resolved.name == "predictions" else resolved).parts[1:]
