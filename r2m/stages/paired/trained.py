"""A trained captioner from its run folder alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from models.ensemble import Ensemble
from pipelines import caption_batches, captions
from r2m.engine.persistence import checkpoints
from r2m.stages.paired.data import caption_options
from r2m.stages.paired.experiment import FEATURES_FILE
from r2m.stages.paired.model import build_model, feature_sizes, open_network
from r2m.stages.paired.stage import CAPTIONED_AT_ONCE
from r2m.stages.run_folder import VOCABULARY_FILE, saved_run
from r2m.stages.trained_run import TrainedRun
from r2m.stages.validation import Captioning, search_options
from tfrecords.errors import InputError
from tfrecords.records import Records, check_same_vocabulary
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
    signature = {
        name: tf.TensorSpec(shape, dtype)
        for name, (shape, dtype) in saved_features(run_folder)["inputs"].items()
    }
    network = open_network(config, load=False)
    model = build_model(config, len(vocabulary), feature_sizes(signature), network)
    checkpoints.restore_model(model, run_folder, {"vocabulary": vocabulary.sha256})
    search = search_options(config, vocabulary)

    def batches(records: Records, split: str) -> tf.data.Dataset:
        options = caption_options(config, records)
        return caption_batches.image_batches(records, split, options, batch_size=CAPTIONED_AT_ONCE)

    return TrainedRun(
        folder=run_folder,
        members=(run_folder,),
        model=model,
        captioning=Captioning(model, vocabulary, search, signature),
        vocabulary=vocabulary,
        config=config,
        signature=signature,
        open_records=captions.open_captions,
        batches=batches,
        examples=captions.examples,
    )


def ensemble(runs: Sequence[TrainedRun]) -> TrainedRun:
    """Captioners that caption together; settings of search are those of the first.

    Raises:
        InputError: their vocabularies differ, or they are shown the same thing in different ways.
    """
    first = runs[0]
    signature: dict[str, tf.TensorSpec] = {}
    for run in runs:
        check_same_vocabulary(
            f"run {first.folder}", first.vocabulary.sha256,
            f"run {run.folder}", run.vocabulary.sha256,
        )  # fmt: skip
        if run.config.data.unit_norm != first.config.data.unit_norm:
            raise InputError(
                f"{run.folder} and {first.folder} differ in data.unit_norm: they cannot be shown "
                "the same features"
            )
        for name, spec in run.signature.items():
            if signature.setdefault(name, spec) != spec:
                raise InputError(
                    f"{run.folder}: its {name} are {spec}, those of another member "
                    f"{signature[name]}: they cannot be shown the same features"
                )

    def batches(records: Records, split: str) -> tf.data.Dataset:
        each = [caption_options(run.config, records) for run in runs]
        kinds = dict.fromkeys(kind for options in each for kind in options.features)
        pixels = next((options.pixels for options in each if options.pixels), None)
        options = dataclasses.replace(each[0], features=tuple(kinds), pixels=pixels)
        return caption_batches.image_batches(records, split, options, batch_size=CAPTIONED_AT_ONCE)

    model = Ensemble([run.model for run in runs], [list(run.signature) for run in runs])
    search = search_options(first.config, first.vocabulary)
    return first._replace(
        members=tuple(run.folder for run in runs),
        model=model,
        captioning=Captioning(model, first.vocabulary, search, signature),
        signature=signature,
        batches=batches,
    )


def saved_features(run_folder: Path) -> dict[str, Any]:
    """What the captioner of a run is shown, and how it was made.

    Returns:
        `inputs` (name -> shape and dtype), `features` (kinds of them), and `records`: the options
        of the records that say where features come from.
    """
    file = run_folder / FEATURES_FILE
    if not file.is_file():
        raise InputError(f"{run_folder} is not the run of a captioner: it has no {FEATURES_FILE}")
    found: dict[str, Any] = json.loads(file.read_text())
    return found
