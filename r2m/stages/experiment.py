"""From a configuration to trained stages: one stage, or the whole curriculum in order."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import keras
from absl import logging
from ml_collections import ConfigDict

from models.r2m import R2M
from pipelines import images
from r2m.engine import checkpoints
from r2m.engine.options import TrainingOptions
from r2m.engine.strategies import make_strategy
from r2m.engine.train import TrainingSummary, train
from r2m.evaluation.files import write_whole
from r2m.stages.curriculum import CURRICULUM, StageSpec, stage_spec
from r2m.stages.data import Data, open_data
from r2m.stages.stage import CurriculumStage
from tfrecords.errors import InputError
from tfrecords.features import BackboneOptions, FeatureExtractor
from tfrecords.vocabulary import Vocabulary

VOCABULARY_FILE = "vocabulary.txt"
CONCEPTS_FILE = "concepts.json"


def run_stage(
    name: str, config: Any, workdir: str | Path, *, init_from: str | Path | None = None
) -> TrainingSummary:
    """Trains one stage in `<workdir>/<name>`, or resumes it there.

    Args:
        name: of the stage, see `curriculum.STAGES`.
        config: the experiment's settings (`configs/r2m/base.py`).
        workdir: folder of the experiment.
        init_from: run folder of the stage to start from; by default the one before in the same
            experiment.

    Returns:
        How far the run came, and its metrics.

    Raises:
        InputError: bad paths or records, or nothing to start from.
        TrainingError: see `engine.train`.
    """
    spec = stage_spec(name)
    workdir = Path(workdir)
    # Stages differ in what they draw: none repeats the dropout masks of the one before.
    seed = config.seed + list(config.stages).index(name)
    keras.utils.set_random_seed(seed)
    data = open_data(config)
    strategy = make_strategy(config.training.strategy)
    start = _start_of(spec, workdir, init_from)
    folder = workdir / name
    with strategy.scope():
        backbone = _backbone(config, spec)
        model = build_model(config.model, data.vocabulary, _feature_size(data, backbone))
        stage = CurriculumStage(spec=spec, config=config, data=data, model=model, backbone=backbone)
    _keep_dictionaries(data, folder)
    return train(
        stage,
        _training_options(config, name, seed, stage.best_metric),
        folder,
        strategy=strategy,
        init_from=start and partial(_take_weights, stage, start),
        config=json.loads(config.to_json()),
    )


def run_curriculum(config: Any, workdir: str | Path) -> dict[str, TrainingSummary]:
    """Trains the four stages in order, each from the best checkpoint of the one before.

    Finished stages are not trained again, an interrupted one goes on where it stopped.

    Returns:
        Stage name -> summary.
    """
    summaries: dict[str, TrainingSummary] = {}
    for name in CURRICULUM:
        logging.info("%s", stage_spec(name).summary)
        summaries[name] = run_stage(name, config, workdir)
    return summaries


def build_model(settings: Any, vocabulary: Vocabulary, feature_size: int | None) -> R2M:
    """The network that `config.model` describes; raises `InputError` for impossible settings."""
    try:
        return R2M(
            vocabulary_size=len(vocabulary), image_features=feature_size, **settings.to_dict()
        )
    except ValueError as error:
        raise InputError(f"config.model: {error}") from error


def _feature_size(data: Data, backbone: FeatureExtractor | None) -> int | None:
    if backbone is not None:
        return backbone.grid_shape[-1]
    return images.feature_size(data.images) if data.images is not None else None


def _take_weights(stage: CurriculumStage, run_folder: Path) -> None:
    """Starts from another stage's weights; one that saw no images has no image projection."""
    found = checkpoints.restore_model(
        stage.model, run_folder, stage.fingerprint, allow_new=["image_map/"]
    )
    logging.info("%s: starting from the weights of %s", stage.name, found.folder)


def _backbone(config: Any, spec: StageSpec) -> FeatureExtractor | None:
    """The frozen CNN of `image.source=pixels`, for stages that look at images."""
    if config.image.source != "pixels" or not spec.images:
        return None
    return FeatureExtractor(
        BackboneOptions(
            name=config.image.backbone,
            weights=config.image.weights,
            image_size=config.image.crop,
            alpha=config.image.alpha or None,
        )
    )


def _start_of(spec: StageSpec, workdir: Path, init_from: str | Path | None) -> Path | None:
    """The run folder whose weights a stage starts with; None for scratch."""
    if init_from:
        return Path(init_from)
    if spec.previous is None:
        return None
    before = workdir / spec.previous
    resumes = checkpoints.newest(workdir / spec.name / checkpoints.LATEST) is not None
    if not before.is_dir() and not resumes:
        raise InputError(
            f"stage {spec.name} starts from the weights of stage {spec.previous}, and there is no "
            f"run in {before}: train that stage first, or name another run with --init_from"
        )
    return before


def _training_options(config: Any, name: str, seed: int, best: tuple[str, str]) -> TrainingOptions:
    stage, training = config.stages[name], config.training
    try:
        return TrainingOptions(
            steps=stage.steps,
            learning_rate=stage.learning_rate,
            optimizer=training.optimizer,
            weight_decay=training.weight_decay,
            clip_global_norm=training.clip_global_norm,
            steps_per_loop=training.steps_per_loop,
            log_every=training.log_every,
            evaluate_every=stage.evaluate_every,
            checkpoint_every=stage.evaluate_every,
            keep_checkpoints=training.keep_checkpoints,
            best_metric=best[0],
            best_mode=best[1],
            seed=seed,
        )
    except ValueError as error:
        raise InputError(f"config.stages.{name} / config.training: {error}") from error


def _keep_dictionaries(data: Data, folder: Path) -> None:
    """Copies vocabulary and concepts into the run folder, so that it can be used by itself."""
    for name in (VOCABULARY_FILE, CONCEPTS_FILE):
        source = Path(data.sentences.folder) / name
        write_whole(folder / name, source.read_bytes())


def load_captioner(run_folder: str | Path) -> tuple[R2M, Vocabulary, dict[str, Any]]:
    """A trained model from its run folder alone (best checkpoint, else the latest).

    Returns:
        The model, its vocabulary, and the contents of config.json.

    Raises:
        InputError: the folder is not a run of this project.
        TrainingError: it holds no whole checkpoint, or one that does not fit.
    """
    folder = Path(run_folder)
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise InputError(
            f"{folder} is not the run folder of a stage: it has no config.json; expected something "
            "like workspace/runs/<experiment>/tri_rec"
        )
    saved = json.loads(config_file.read_text())
    vocabulary = Vocabulary.load(folder / VOCABULARY_FILE)
    found = checkpoints.best_or_latest(folder)
    model = build_model(
        ConfigDict(saved["config"]["model"]), vocabulary, _saved_feature_size(found)
    )
    checkpoints.restore_model(model, folder, {"vocabulary": vocabulary.sha256})
    return model, vocabulary, saved


def _saved_feature_size(checkpoint: checkpoints.Checkpoint) -> int | None:
    """Input size of the image projection that a checkpoint holds, None where it holds none."""
    for name, shape, _ in checkpoint.sidecar["variables"]:
        if name == "image_map/kernel":
            return int(shape[0])
    return None
