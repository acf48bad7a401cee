"""Run folder of a stage: its configuration, vocabulary and checkpoint, each read once.

The engine writes config.json and the checkpoints; vocabulary and concepts are copied into the
folder before training starts, so that a run can be used without its records.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
from absl import logging
from ml_collections import ConfigDict

from r2m.configuration.config_fields import FAMILIES
from r2m.configuration.earlier_versions import upgrade_settings
from r2m.engine.persistence import checkpoints
from r2m.engine.persistence.checkpoint_folders import BEST, LATEST, folders_of
from tfrecords.core.errors import InputError
from tfrecords.core.missing_paths import describe_missing
from tfrecords.core.segmentation import SEGMENTERS
from tfrecords.core.vocabulary import Vocabulary

CONFIG_FILE = "config.json"
VOCABULARY_FILE = "vocabulary.txt"
SEGMENTER_FILE = "segmenter.txt"


class RunFolder:
    """An opened run folder.

    Attributes:
        path: the folder.
        stage: name of the stage that was trained in it, for example `cross_entropy`.
        config: configuration of the run.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens the folder of a stage, or of the last stage of an experiment.

        Raises:
            InputError: the folder belongs to neither, or its config.json is damaged.
        """
        self.path = _stage_folder(Path(path))
        saved = read_config(self.path)
        self.stage: str = saved["stage"]
        self.config = ConfigDict(saved["config"])

    @property
    def name(self) -> str:
        """`<experiment>/<stage>`, for galleries and reports."""
        return "/".join(self.path.absolute().parts[-2:])

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Vocabulary of the model; raises `InputError` if it is missing or damaged."""
        file = self.path / SEGMENTER_FILE
        segmenter = file.read_text(encoding="utf-8").strip() if file.is_file() else "words"
        if segmenter not in SEGMENTERS:
            raise InputError(f"{file}: {segmenter!r} is not known; known: {', '.join(SEGMENTERS)}")
        return Vocabulary.load(self.path / VOCABULARY_FILE, segmenter)

    @cached_property
    def checkpoint(self) -> checkpoints.Checkpoint:
        """Best checkpoint, else the latest, verified against its checksums.

        Raises `TrainingError` if the run has no complete checkpoint.
        """
        return checkpoints.require_best_or_latest(self.path)

    def restore(self, model: keras.Model) -> None:
        """Sets the weights of `model` to those of the checkpoint.

        Raises:
            TrainingError: they do not fit the model, or belong to another vocabulary.
        """
        fingerprint = {"vocabulary": self.vocabulary.sha256}
        checkpoints.restore_model(model, self.checkpoint, fingerprint)


def read_config(folder: str | Path) -> dict[str, Any]:
    """Returns the contents of config.json: `stage`, `config` and further entries of the engine.

    `config` is converted to the form of this version.

    Raises:
        InputError: the folder is not the run folder of a stage.
    """
    file = Path(folder, CONFIG_FILE)
    if not file.is_file():
        raise InputError(
            f"{folder} is not the run folder of a stage: it has no {CONFIG_FILE}; {_advice(folder)}"
        )
    saved: Any = None
    with contextlib.suppress(ValueError):
        saved = json.loads(file.read_text(encoding="utf-8"))
    if not (isinstance(saved, dict) and "stage" in saved and isinstance(saved.get("config"), dict)):
        raise InputError(
            f"{file} is not the {CONFIG_FILE} of a run, as written by r2m-train-*: expected an "
            "object with `stage` and `config`; give the folder of a run"
        )
    return {**saved, "config": upgrade_settings(saved["config"])}


def run_names(folders: Sequence[RunFolder]) -> str:
    """Returns the names of runs for galleries and reports, separated by commas."""
    return ", ".join(folder.name for folder in folders)


def _stage_folder(path: Path) -> Path:
    """Returns the folder of a stage: `path`, or the last stage of experiment `path`.

    Stages are in the order of the configuration. A stage without a checkpoint is skipped if another
    stage has one.
    """
    if any(next(path.glob(name), None) for name in ("saved_model.pb", "*/saved_model.pb")):
        raise InputError(
            f"{path} is an exported model, a value for --model of r2m-serve and r2m-app: give the "
            "folder of the run that it was exported from"
        )
    inside = {file.parent.name for file in path.glob(f"*/{CONFIG_FILE}")}
    if (path / CONFIG_FILE).is_file() or not inside:
        return path
    families = [family for family in FAMILIES if inside & set(family.stages)]
    if len(families) != 1:
        raise InputError(f"{path} is not the run folder of a stage: {_advice(path)}")
    found = [path / stage for stage in families[0].stages if stage in inside]
    saved = [folder for folder in found if folders_of(folder / BEST) or folders_of(folder / LATEST)]
    last = (saved or found)[-1]
    logging.info("%s: using its last stage, %s", path, last.name)
    return last


def _advice(folder: str | Path) -> str:
    for pattern in (f"*/{CONFIG_FILE}", f"*/*/{CONFIG_FILE}"):
        runs = sorted(str(file.parent) for file in Path(folder).glob(pattern))
        if runs:
            return f"did you mean {' or '.join(runs[:10])}?"
    missing = "" if Path(folder).exists() else describe_missing(Path(folder))
    return f"expected something like workspace/runs/<experiment>/<stage>{missing}"
