"""What a run folder holds beside checkpoints and logs, so that it can be used without its records.

config.json is the engine's; vocabulary and concepts are copied in before training starts.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfrecords.errors import InputError
from tfrecords.segmentation import SEGMENTERS
from tfrecords.vocabulary import Vocabulary

VOCABULARY_FILE = "vocabulary.txt"
SEGMENTER_FILE = "segmenter.txt"


def load_vocabulary(folder: Path) -> Vocabulary:
    """Reads the vocabulary of a run; raises `InputError` where it is missing or damaged."""
    file = folder / SEGMENTER_FILE
    segmenter = file.read_text(encoding="utf-8").strip() if file.is_file() else "words"
    if segmenter not in SEGMENTERS:
        raise InputError(f"{file}: {segmenter!r} is not known; known: {', '.join(SEGMENTERS)}")
    return Vocabulary.load(folder / VOCABULARY_FILE, segmenter)


def saved_run(folder: str | Path) -> dict[str, Any]:
    """The contents of config.json; raises `InputError` where the folder is not that of a run."""
    file = Path(folder, "config.json")
    if not file.is_file():
        runs = sorted(str(own.parent) for own in Path(folder).glob("*/config.json"))
        raise InputError(
            f"{folder} is not the run folder of a stage: it has no config.json; "
            + (
                f"did you mean {' or '.join(runs)}?"
                if runs
                else "expected something like workspace/runs/<experiment>/<stage>"
            )
        )
    saved: Any = None
    with contextlib.suppress(ValueError):
        saved = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(saved, dict) or not {"stage", "config"} <= set(saved):
        raise InputError(
            f"{file} is not the config.json of a run, which r2m-train-* write: expected an object "
            "with `stage` and `config`; give the folder of a run"
        )
    return saved


def run_names(folders: Sequence[Path]) -> str:
    """Runs as people know them, `<experiment>/<stage>` each, for galleries and reports."""
    return ", ".join("/".join(folder.absolute().parts[-2:]) for folder in folders)
