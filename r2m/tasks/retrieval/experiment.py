"""Training of a visual-semantic embedding from a configuration."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipelines.inputs.pixels import Pixels
from r2m.configuration.config_checks import check_config
from r2m.configuration.earlier_versions import upgrade_settings
from r2m.configuration.settings import TRAINING_SPLIT, setting, stage_seed, training_options
from r2m.engine.distribution.cores import configure_threads
from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.distribution.workers import reporting_lost_workers, this_worker
from r2m.engine.monitoring.profiling import ProfileWindow
from r2m.engine.train import TrainingSummary, train
from r2m.inference.captioner_inputs import FEATURES_FILE, features_file
from r2m.inference.captioner_model import open_network
from r2m.inference.retrieval_model import build_embedding
from r2m.inference.retrieval_run import SENTENCES_FILE, sentences_file
from r2m.tasks.retrieval.data import RetrievalData, open_data
from r2m.tasks.retrieval.objective import RankingObjective, RankingOptions
from r2m.tasks.retrieval.stage import RetrievalStage
from r2m.tasks.run_start import (
    RunFile,
    copy_into_run,
    init_from_run,
    start_of,
    start_settings,
    vocabulary_files,
)


def run_retrieval(
    config: Any,
    workdir: str | Path,
    *,
    init_from: str | Path | None = None,
    profile: ProfileWindow | None = None,
) -> TrainingSummary:
    """Trains an embedding in `<workdir>/ranking`, or resumes it there.

    Args:
        config: settings of the experiment (a file of `configs/retrieval`).
        workdir: folder of the experiment.
        init_from: run folder whose best weights initialize the model; None uses random weights.
        profile: steps to run with TensorFlow's profiler.

    Returns:
        The last step and its metrics.

    Raises:
        InputError: paths, records or settings are invalid.
        TrainingError: see `engine.train`.
    """
    name = RetrievalStage.name
    check_config(config, name)
    folder = Path(workdir, name)
    options = _ranking_options(config)
    start = start_of(name, None, Path(workdir), init_from)
    seed = stage_seed(config, name)
    configure_threads(1)  # the loss compares all rows of a batch, which is not divided
    # First, because a process must join other workers before anything else.
    strategy = make_strategy(config.training.strategy)
    worker = this_worker(strategy)
    with reporting_lost_workers(strategy):  # workers create their variables together
        data = open_data(config, seed)
        shown = data.signature(TRAINING_SPLIT)
        with strategy.scope():
            network = open_network(config, config.training.precision)
            # Seeded only now: a network without weights has its own seed, equal in every process.
            keras.utils.set_random_seed(seed)
            model = build_embedding(
                config,
                len(data.vocabulary),
                data.inputs.sizes(shown),
                network,
                config.training.precision,
            )
            stage = RetrievalStage(
                data=data,
                model=model,
                objective=RankingObjective(options),
                batch_size=options.batch_size,
                network_rate=config.image.learning_rate_factor,
                signature=shown,
                folder=folder,
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
            and partial(init_from_run, model, model.network, start, stage.fingerprint),
            config=json.loads(config.to_json()),
            settings=_settings(config, options, data, start, folder),
            upgrade_settings=upgrade_settings,
            profile=profile,
        )  # fmt: skip


def _ranking_options(config: Any) -> RankingOptions:
    """Returns the options of the loss from `config.loss` and the stage."""
    with setting("config.loss and config.stages.ranking"):
        return RankingOptions(
            **config.loss.to_dict(),
            similarity=config.model.similarity,
            batch_size=config.stages.ranking.batch_size,
            frozen_epochs=config.image.frozen_epochs if config.image.trained_from else 0,
            teacher_weight=config.teacher.weight if config.teacher.runs else 0.0,
            teacher_temperature=config.teacher.temperature,
        )


def _run_files(
    data: RetrievalData, shown: Mapping[str, tf.TensorSpec], folder: Path
) -> dict[str, RunFile]:
    """Returns the vocabulary, and the files that describe inputs for other images and sentences."""
    origin = data.records.folder
    return {
        **vocabulary_files(data.records),
        FEATURES_FILE: RunFile(features_file(data.inputs, shown, data.records, folder), origin),
        SENTENCES_FILE: RunFile(sentences_file(data.records), origin),
    }


def _settings(
    config: Any,
    options: RankingOptions,
    data: RetrievalData,
    start: Path | None,
    folder: Path,
) -> dict[str, Any]:
    """Returns the settings that must be unchanged when a run is resumed."""
    pixels = data.inputs.find(Pixels)
    loss = dataclasses.asdict(options)
    distillation = {name: loss.pop(f"teacher_{name}") for name in ("weight", "temperature")}
    settings = {
        "model": config.model.to_dict(),
        "image": config.image.to_dict(),
        "precision": config.training.precision,
        "loss": loss,
        "data": {
            **dataclasses.asdict(data.options),
            "features": data.inputs.stored,
            "unit_norm": config.data.unit_norm,
            "use_box": config.data.use_box,
            "pixels": pixels and dataclasses.asdict(pixels),
            "records": data.records.digest,
            "views": data.views,
        },
    }
    if data.teacher is not None:
        settings["teacher"] = {**distillation, "checkpoints": data.teacher.checkpoints}
    if start is not None:
        settings["start"] = start_settings(start, folder)
    return settings
