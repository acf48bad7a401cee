"""Training of R2M from a configuration: one stage, or the whole curriculum in order."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import keras
from absl import logging

from pipelines import images
from r2m.configuration.config_checks import check_config
from r2m.configuration.settings import stage_seed, training_options
from r2m.engine.distribution.cores import configure_threads
from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.distribution.workers import reporting_lost_workers, this_worker
from r2m.engine.monitoring.profiling import ProfileWindow
from r2m.engine.persistence import checkpoints
from r2m.engine.train import TrainingSummary, train
from r2m.inference.r2m_model import CONCEPTS_FILE, DEFAULT_RULES, RULES_FILE, build_model
from r2m.tasks.run_start import RunFile, copy_into_run, start_of, start_settings, vocabulary_files
from r2m.tasks.unsupervised_captioning.curriculum import CURRICULUM, StageSpec, stage_spec
from r2m.tasks.unsupervised_captioning.data import Data, open_data
from r2m.tasks.unsupervised_captioning.image_vectors import ImageVectors, open_image_vectors
from r2m.tasks.unsupervised_captioning.rewards import Rewards, open_rewards, previous_stage
from r2m.tasks.unsupervised_captioning.stage import CurriculumStage
from tfrecords.language.unlikely_pairs import UNLIKELY_PAIRS


def run_stage(
    name: str,
    config: Any,
    workdir: str | Path,
    *,
    init_from: str | Path | None = None,
    profile: ProfileWindow | None = None,
) -> TrainingSummary:
    """Trains one stage in `<workdir>/<name>`, or resumes it there.

    Args:
        name: name of the stage, see `curriculum.STAGES`.
        config: settings of the experiment (a file of `configs/r2m`).
        workdir: folder of the experiment.
        init_from: run folder of the stage to start from; by default the previous one in the same
            experiment.
        profile: steps to run with TensorFlow's profiler.

    Returns:
        The last step of the run and its metrics.

    Raises:
        InputError: paths or records are invalid, or there is no stage to start from.
        TrainingError: see `engine.train`.
    """
    check_config(config, name)
    spec = stage_spec(name)
    workdir = Path(workdir)
    folder = workdir / name
    seed = stage_seed(config, name)
    configure_threads(1 if spec.compares_rows else config.training.at_once)
    # First, because a process must join other workers before anything else.
    strategy = make_strategy(config.training.strategy)
    worker = this_worker(strategy)
    with reporting_lost_workers(strategy):  # workers create their variables together
        data = open_data(config, seed)
        previous = previous_stage(workdir) if spec.rewards else spec.previous
        start = start_of(spec.name, previous, workdir, init_from)
        rewards = open_rewards(config, data.images, keep=worker.is_chief) if spec.rewards else None
        with strategy.scope():
            vectors = open_image_vectors(config, spec, data.images)
            keras.utils.set_random_seed(seed)
            size = _feature_size(config, data, vectors)
            model = build_model(config.model, data.vocabulary, size, config.training.precision)
            stage = CurriculumStage(
                spec=spec, config=config, data=data, model=model, vectors=vectors, worker=worker,
                rewards=rewards,
            )  # fmt: skip
        if worker.is_chief:
            copy_into_run(folder, _run_files(data))
        return train(
            stage,
            training_options(config, stage),
            folder,
            strategy=strategy,
            init_from=start and partial(_init_from_run, stage, start),
            config=json.loads(config.to_json()),
            settings=_settings(config, spec, data, vectors, start, folder, rewards),
            profile=profile,
        )


def run_curriculum(
    config: Any,
    workdir: str | Path,
    *,
    init_from: str | Path | None = None,
    profile: ProfileWindow | None = None,
) -> dict[str, TrainingSummary]:
    """Trains the four stages in order, each from the best checkpoint of the previous one.

    Finished stages are not trained again, and an interrupted stage resumes. The first one starts
    from `init_from` if given, else from scratch. `profile` applies to each stage.

    Returns:
        Stage name -> summary.
    """
    summaries: dict[str, TrainingSummary] = {}
    for name in CURRICULUM:
        logging.info("%s", stage_spec(name).summary)
        start = init_from if name == CURRICULUM[0] else None
        summaries[name] = run_stage(name, config, workdir, init_from=start, profile=profile)
    return summaries


def _feature_size(config: Any, data: Data, vectors: ImageVectors | None) -> int | None:
    if vectors is not None:
        return vectors.size
    # A stage that only reads sentences has no image projection if later stages use other vectors.
    if config.image.source == "pixels" or config.image.embedding or data.images is None:
        return None
    return images.feature_size(data.images)


def _settings(
    config: Any,
    spec: StageSpec,
    data: Data,
    vectors: ImageVectors | None,
    start: Path | None,
    folder: Path,
    rewards: Rewards | None,
) -> dict[str, Any]:
    """Returns the settings that must be unchanged when a stage is resumed or skipped."""
    stage = config.stages[spec.name]
    settings = {
        "model": config.model.to_dict(),
        "precision": config.training.precision,
        "loss": config.loss.to_dict() if rewards is None else rewards.settings,
        "concepts": dataclasses.asdict(data.concepts),
        "batch": {"batch_size": stage.batch_size, "max_length": stage.max_length},
    }
    if spec.sentences:
        settings["sentences"] = data.sentences.digest
        if data.noise is not None:
            settings["concept_noise"] = {"missed": data.noise.missed, "false": data.noise.false}
        for name in ("word_dropout", "scheduled_sampling"):
            if getattr(data, name):
                settings[name] = getattr(data, name)
        if data.image_concepts is not None:
            settings["match_images"] = {
                "share": data.match_images,
                "image_concepts": data.image_concepts.digest,
            }
    if spec.images and data.images is not None:
        settings["images"] = {
            "source": config.image.source,
            "resize": config.image.resize,
            "crop": config.image.crop,
            "records": data.images.digest,
            **({} if vectors is None else vectors.settings),
        }
    if start is not None:
        settings["start"] = start_settings(start, folder)
    return settings


def _init_from_run(stage: CurriculumStage, run_folder: Path) -> None:
    """Restores another stage's weights; either of the two may lack the image projection."""
    found = checkpoints.restore_model(
        stage.model,
        run_folder,
        stage.fingerprint,
        allow_new=["image_map/"],
        allow_unused=["image_map/"],
    )
    logging.info("%s: starting from the weights of %s", stage.name, found.folder)


def _run_files(data: Data) -> dict[str, RunFile]:
    """Returns vocabulary, concepts and the rules of concepts, as files of the run folder."""
    origin = data.sentences.folder
    files = vocabulary_files(data.sentences)
    files[CONCEPTS_FILE] = RunFile((origin / CONCEPTS_FILE).read_bytes(), origin)
    if data.images is not None:
        options = data.images.manifest["options"]
        rules = {name: options[name] for name in (*DEFAULT_RULES, "detections")}
        if UNLIKELY_PAIRS in options:
            rules[UNLIKELY_PAIRS] = options[UNLIKELY_PAIRS]
        text = json.dumps(rules, indent=1) + "\n"
        files[RULES_FILE] = RunFile(text.encode(), data.images.folder)
    return files
