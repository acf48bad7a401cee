"""Further training of R2M with rewards, on paired data after the unpaired stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from pipelines import captions
from pipelines.batching import Batch, Rows
from pipelines.caption_batches import CaptionOptions
from pipelines.paired_references import PairedReferences
from r2m.configuration.settings import TRAINING_SPLIT, setting
from r2m.tasks.captioning.reward_config import (
    option_fields,
    reward_objective,
    reward_settings,
)
from r2m.tasks.captioning.self_critical import SelfCritical, SelfCriticalOptions
from r2m.tasks.unsupervised_captioning.curriculum import CURRICULUM, REWARD
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records

# Folded into a batch's key, so that these draws differ from others with the same key.
_DRAWS = -1


class Rewards(NamedTuple):
    """Rewards of the captions of images.

    Attributes:
        objective: objective of the training.
        options: options of the objective.
        references: references of the images.
        settings: settings that must be unchanged when a run is resumed.
    """

    objective: SelfCritical
    options: SelfCriticalOptions
    references: PairedReferences
    settings: dict[str, Any]

    def tensors(self, rows: Rows) -> Batch:
        """Returns the tensors that the objective needs in addition to the model's inputs."""
        batch = self.references(rows)
        if self.objective.more is not None:
            batch.update(self.objective.more(rows))
        if self.options.sampling == "draws":
            seed = tf.random.experimental.stateless_fold_in(rows["key"], _DRAWS)
            images = tf.shape(rows["image_id"])[0]
            shape = tf.stack([images, self.options.samples, self.options.max_length])
            batch["draws"] = tf.random.stateless_uniform(shape, seed)
        return batch


def open_rewards(config: Any, images: Records | None, *, keep: bool) -> Rewards:
    """Opens the captions that `config.data.captions` names, and builds the objective.

    Args:
        config: configuration of the experiment.
        images: records that the stage is trained on.
        keep: whether to save counted document frequencies.

    Raises:
        InputError: images or captions are missing, they do not belong together, or a setting is
            invalid.
    """
    if images is None or TRAINING_SPLIT not in images.splits:
        raise InputError(
            f"stage {REWARD.name} is trained on images of split {TRAINING_SPLIT!r}: pass "
            "--images=FOLDER, made by r2m-build-images"
        )
    if not config.data.captions:
        raise InputError(
            f"stage {REWARD.name} is trained on captions of the images: pass --captions=FOLDER, "
            f"made by r2m-build-captions --vocabulary={images.folder}"
        )
    max_length = config.stages[REWARD.name].max_length
    with setting("config.reward"):
        options = SelfCriticalOptions(max_length=max_length, **option_fields(config))
    records = captions.open_captions(config.data.captions)
    references = PairedReferences(
        images, records, TRAINING_SPLIT, CaptionOptions(max_length=max_length)
    )
    objective = reward_objective(config, options, records, keep=keep)
    return Rewards(
        objective, options, references, {**reward_settings(config), "captions": records.digest}
    )


def previous_stage(workdir: Path) -> str:
    """Returns the last stage of the curriculum that has a run in `workdir`, else `joint`.

    Without any of these runs, it is the last stage of the curriculum.
    """
    for name in (*reversed(CURRICULUM), "joint"):
        if (workdir / name).is_dir():
            return name
    return CURRICULUM[-1]
