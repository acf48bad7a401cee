"""A trained R2M from its run folder alone."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pipelines import images
from r2m.engine.persistence import checkpoints
from r2m.inference.captioning import Captioning, search_options
from r2m.inference.r2m_model import (
    CONCEPT_INPUTS,
    DEFAULT_RULES,
    RULES_FILE,
    build_model,
    concept_options,
)
from r2m.inference.run import TrainedRun
from r2m.inference.run_folder import load_vocabulary, saved_run


def open_run(run_folder: Path, overrides: dict[str, Any]) -> TrainedRun:
    """A trained run with its best checkpoint, else the latest.

    Args:
        run_folder: of a stage.
        overrides: of the run's `decoding` settings.

    Raises:
        InputError: the folder is not a run of this project, or an impossible setting.
        TrainingError: it holds no whole checkpoint, or one that does not fit.
    """
    config = ConfigDict(saved_run(run_folder)["config"])
    config.decoding.update(overrides)
    vocabulary = load_vocabulary(run_folder)
    found = checkpoints.require_best_or_latest(run_folder)
    model = build_model(config.model, vocabulary, _feature_size(found))
    checkpoints.restore_model(model, run_folder, {"vocabulary": vocabulary.sha256})
    search = search_options(config, vocabulary)
    return TrainedRun(
        folder=run_folder,
        members=(run_folder,),
        model=model,
        captioning=Captioning(model, vocabulary, search, CONCEPT_INPUTS),
        vocabulary=vocabulary,
        config=config,
        signature=dict(CONCEPT_INPUTS),
        open_records=images.open_images,
        batches=partial(images.concept_batches, concept_options=concept_options(config)),
        examples=images.examples,
    )


def concept_rules(run_folder: Path) -> dict[str, Any]:
    """How the concepts of a run's images were chosen; the builder's defaults for a text-only run.

    Returns:
        `min_concept_count`, `concept_order` and, if known, `detections` (file, min_score, weight).
    """
    file = run_folder / RULES_FILE
    saved: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {**DEFAULT_RULES, **saved}


def _feature_size(checkpoint: checkpoints.Checkpoint) -> int | None:
    """Input size of the image projection that a checkpoint holds, None where it holds none."""
    for name, shape, _ in checkpoint.sidecar["variables"]:
        if name == "image_map/kernel":
            return int(shape[0])
    return None
