"""Training of a captioner from a configuration."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipelines.inputs.pixels import Pixels, crop_size
from r2m.configuration.config_checks import check_config
from r2m.configuration.earlier_versions import upgrade_settings
from r2m.configuration.settings import TRAINING_SPLIT, setting, stage_seed, training_options
from r2m.engine.distribution.cores import configure_threads
from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.distribution.workers import reporting_lost_workers, this_worker
from r2m.engine.monitoring.profiling import ProfileWindow
from r2m.engine.train import TrainingSummary, train
from r2m.inference.captioner_inputs import FEATURES_FILE, features_file
from r2m.inference.captioner_model import build_model, open_network
from r2m.inference.captioning import Captioning, search_options
from r2m.tasks.captioning.cross_entropy import CrossEntropy, CrossEntropyOptions
from r2m.tasks.captioning.data import CaptionerData, open_data
from r2m.tasks.captioning.reward_config import (
    reward_objective,
    reward_options,
    reward_settings,
)
from r2m.tasks.captioning.self_critical import SelfCritical, SelfCriticalOptions
from r2m.tasks.captioning.stage import CaptionerStage, Objective
from r2m.tasks.run_start import (
    RunFile,
    copy_into_run,
    init_from_run,
    start_of,
    start_settings,
    vocabulary_files,
)
from tfrecords.core.errors import InputError

# Stages of a captioner, each of which can start from the previous one.
STAGES = (CrossEntropy.name, SelfCritical.name)


def run_captioner(
    config: Any,
    workdir: str | Path,
    *,
    name: str = CrossEntropy.name,
    init_from: str | Path | None = None,
    profile: ProfileWindow | None = None,
) -> TrainingSummary:
    """Trains a captioner's stage in `<workdir>/<name>`, or resumes it there.

    Args:
        config: settings of the experiment (a file of `configs/captioners`).
        workdir: folder of the experiment.
        name: name of the stage: `cross_entropy`, or `self_critical`, which continues from there.
        init_from: run folder whose best weights initialize the stage. None starts `cross_entropy`
            from scratch, and `self_critical` from the run of `cross_entropy` in the same workdir.
        profile: steps to run with TensorFlow's profiler.

    Returns:
        The last step and its metrics.

    Raises:
        InputError: paths, records or settings are invalid.
        TrainingError: see `engine.train`.
    """
    if name not in STAGES:
        raise InputError(f"unknown stage {name!r} of a captioner; known: {', '.join(STAGES)}")
    check_config(config, name)
    folder = Path(workdir, name)
    if name == SelfCritical.name:
        options: CrossEntropyOptions | SelfCriticalOptions = reward_options(config)
    else:
        with setting("config.loss"):
            options = CrossEntropyOptions(**config.loss.to_dict())
    previous = None if name == CrossEntropy.name else CrossEntropy.name
    start = start_of(name, previous, Path(workdir), init_from)
    seed = stage_seed(config, name)
    # A loss that compares rows is not divided into parts and needs all cores.
    configure_threads(1 if options.compares_rows else config.training.at_once)
    # First, because a process must join other workers before anything else.
    strategy = make_strategy(config.training.strategy)
    worker = this_worker(strategy)
    with reporting_lost_workers(strategy):  # workers create their variables together
        data = open_data(config, seed)
        objective: Objective
        if isinstance(options, CrossEntropyOptions):
            objective = CrossEntropy(options)
        else:
            objective = reward_objective(config, options, data.records, keep=worker.is_chief)
        shown = data.signature(TRAINING_SPLIT)
        with strategy.scope():
            network = open_network(config, config.training.precision)
            # Seeded only now: a network without weights has its own seed, equal in every process.
            keras.utils.set_random_seed(seed)
            model = build_model(
                config,
                len(data.vocabulary),
                data.inputs.sizes(shown),
                network,
                config.training.precision,
            )
            stage = CaptionerStage(
                data=data,
                model=model,
                objective=objective,
                batch_size=config.stages[name].batch_size,
                network_rate=config.image.learning_rate_factor,
                captioning=Captioning(
                    model,
                    data.vocabulary,
                    search_options(config, data.vocabulary),
                    shown,
                ),
                worker=worker,
            )
        if worker.is_chief:
            copy_into_run(folder, _run_files(data, shown, folder))
        return train(
            stage,
            training_options(config, stage),
            folder,
            strategy=strategy,
            init_from=start
            and partial(init_from_run, model, stage.network, start, stage.fingerprint),
            config=json.loads(config.to_json()),
            settings=_settings(config, name, data, start, folder),
            upgrade_settings=upgrade_settings,
            profile=profile,
        )  # fmt: skip


def _run_files(
    data: CaptionerData, shown: Mapping[str, tf.TensorSpec], folder: Path
) -> dict[str, RunFile]:
    """Returns the vocabulary, and the file that describes the features for other images."""
    return {
        **vocabulary_files(data.records),
        FEATURES_FILE: RunFile(
            features_file(data.inputs, shown, data.records, folder), data.records.folder
        ),
    }


def _settings(
    config: Any, name: str, data: CaptionerData, start: Path | None, folder: Path
) -> dict[str, Any]:
    """Returns the settings that must be unchanged when a run is resumed."""
    pixels = data.inputs.find(Pixels)
    settings = {
        "model": config.model.to_dict(),
        # Sizes are saved as numbers, as in earlier versions.
        "image": {
            **config.image.to_dict(),
            "crop": crop_size(config.image),
            "resize": config.image.resize or crop_size(config.image),
        },
        "precision": config.training.precision,
        "loss": config.loss.to_dict() if name == CrossEntropy.name else reward_settings(config),
        "batch": {"batch_size": config.stages[name].batch_size},
        "data": {
            **dataclasses.asdict(data.options),
            "features": data.inputs.stored,
            "unit_norm": config.data.unit_norm,
            "use_box": config.data.use_box,
            "pixels": pixels and dataclasses.asdict(pixels),
            "records": data.records.digest,
            # Records without views are read as in earlier versions.
            **({"views": data.views} if "views" in data.records.manifest["options"] else {}),
        },
    }
    if start is not None:
        settings["start"] = start_settings(start, folder)
    return settings
