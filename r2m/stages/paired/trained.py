"""A trained captioner from its run folder alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from pipelines import caption_batches, captions
from r2m.engine.persistence import checkpoints
from r2m.stages.paired.data import caption_options
from r2m.stages.paired.experiment import FEATURES_FILE, build_model
from r2m.stages.paired.stage import CAPTIONED_AT_ONCE
from r2m.stages.run_folder import VOCABULARY_FILE, saved_run
from r2m.stages.trained_run import TrainedRun
from r2m.stages.validation import Captioning, search_options
from tfrecords.errors import InputError
from tfrecords.records import Records
from tfrecords.vocabulary import Vocabulary


def open_run(run_folder: Path, overrides: dict[str, Any]) -> TrainedRun:
    """A trained captioner with its best checkpoint, else the latest.

    Args:
        run_folder: of a captioner's stage.
        overrides: of the run's `decoding` settings.

    Raises:
        InputError: the folder is not the run of a captioner, or an impossible setting.
        TrainingError: it holds no whole checkpoint, or one that does not fit.
    """
    config = ConfigDict(saved_run(run_folder)["config"])
    config.decoding.update(overrides)
    vocabulary = Vocabulary.load(run_folder / VOCABULARY_FILE)
    checkpoints.require_best_or_latest(run_folder)
    shown = saved_features(run_folder)
    model = build_model(config.model, len(vocabulary), shown["sizes"])
    checkpoints.restore_model(model, run_folder, {"vocabulary": vocabulary.sha256})
    search = search_options(config, vocabulary)
    signature = {
        name: tf.TensorSpec(shape, dtype) for name, (shape, dtype) in shown["inputs"].items()
    }

    def batches(records: Records, split: str) -> tf.data.Dataset:
        options = caption_options(config, records)
        return caption_batches.image_batches(records, split, options, batch_size=CAPTIONED_AT_ONCE)

    return TrainedRun(
        folder=run_folder,
        model=model,
        captioning=Captioning(model, vocabulary, search, signature),
        vocabulary=vocabulary,
        config=config,
        open_records=captions.open_captions,
        batches=batches,
        examples=captions.examples,
    )


def saved_features(run_folder: Path) -> dict[str, Any]:
    """What the captioner of a run is shown, and how it was made.

    Returns:
        `inputs` (name -> shape and dtype), `sizes` (of `build_captioner`), `unit_norm`, and
        `records`: the options of the records that say where features come from.
    """
    file = run_folder / FEATURES_FILE
    if not file.is_file():
        raise InputError(f"{run_folder} is not the run of a captioner: it has no {FEATURES_FILE}")
    found: dict[str, Any] = json.loads(file.read_text())
    return found
