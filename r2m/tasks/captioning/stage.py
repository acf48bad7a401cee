"""A stage that trains a supervised captioner, whatever of it is optimised."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from models.captioners.pixels import PixelCaptioner
from pipelines import caption_batches, captions
from pipelines.batching import batches_per_epoch
from pipelines.inputs.pixels import Pixels
from r2m.configuration.settings import TRAINING_SPLIT, VALIDATION_SPLIT
from r2m.engine.distribution.sharing import share
from r2m.engine.distribution.workers import Worker
from r2m.engine.stage import Evaluation, LossTerm
from r2m.inference.attention_maps import attention_maps, attention_sheets, visible_part, why_no_maps
from r2m.inference.captioning import CAPTIONED_AT_ONCE, Captioning
from r2m.tasks.captioning.data import CaptionerData
from r2m.tasks.validation import Validator
from r2m.tasks.validation_losses import ValidationLosses
from tfrecords.features import decode_image

# Validation images whose attention is shown.
_SHEETS = 4


class Objective(Protocol):
    """What of a captioner is optimised.

    Attributes:
        name: of the stage, and so of its run folder.
        wants_references: whether its batches have all captions of each image.
    """

    name: str
    wants_references: bool

    @property
    def compares_rows(self) -> bool:
        """Whether the loss of one row depends on the other rows of the batch."""

    def draws(self, tokens: tf.Tensor) -> tf.Tensor | None:
        """Shape of what is drawn for a batch of `tokens` int32[B, S, T + 1]; None for nothing."""

    def rates(self, epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scalars that join a batch of this epoch int64[]."""

    def loss(self, model: Any, batch: Any, training: bool) -> dict[str, LossTerm]:
        """The terms on one replica's share of a batch."""

    def remark(self, metrics: Mapping[str, float]) -> str | None:
        """Returns a warning about the training metrics of a log interval."""

    def validation_loss(self, model: Any, batch: Any) -> dict[str, LossTerm]:
        """The terms on captions of the validation split."""


class CaptionerStage:
    """A captioner, its data, its objective and its validation (an `engine.stage.Stage`)."""

    unit = "images"
    # A step works on as many captions as have a word left: XLA wants to know how many.
    compiles = False

    def __init__(
        self,
        *,
        data: CaptionerData,
        model: Any,
        objective: Objective,
        batch_size: int,
        network_rate: float = 1.0,
        captioning: Captioning,
        worker: Worker,
    ) -> None:
        """Puts the stage together inside the strategy's scope.

        Args:
            data: opened records.
            model: the captioner.
            objective: what is optimised.
            batch_size: images of a global batch.
            network_rate: factor of the learning rate for the network that looks at pixels.
            captioning: of the model, for validation.
            worker: which of the processes that train together this is.
        """
        self.model, self.name = model, objective.name
        self.fingerprint: Mapping[str, str] = {"vocabulary": data.vocabulary.sha256}
        self._data, self._objective, self._batch_size = data, objective, batch_size
        self._worker, self._network_rate, self._captioning = worker, network_rate, captioning
        records, validates = data.records, VALIDATION_SPLIT in data.records.splits
        self._validator = Validator(
            captioning,
            data.vocabulary,
            self._image_batches() if validates else None,
            captions.examples(records, VALIDATION_SPLIT) if validates else (),
        )

    @property
    def best_metric(self) -> tuple[str | None, str]:
        """What the best checkpoint is chosen by: CIDEr where there is a validation split."""
        return ("cider", "max") if self._validator.has_references else (None, "max")

    @property
    def steps_per_epoch(self) -> int:
        """Batches that show every image once."""
        return batches_per_epoch(self._data.records.count(TRAINING_SPLIT), self._batch_size)

    @property
    def trainable_variables(self) -> list[Any]:
        """All that are not frozen."""
        return list(self.model.trainable_variables)

    def learning_rate_factor(self, variable: Any) -> float:
        """What the learning rate is multiplied by for a variable."""
        if not isinstance(self.model, PixelCaptioner):
            return 1.0
        own = {id(v) for v in self.model.network.trainable_variables}
        return self._network_rate if id(variable) in own else 1.0

    @property
    def compares_rows(self) -> bool:
        """Whether the loss of one row depends on the other rows of the batch."""
        return self._objective.compares_rows

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        """This worker's rows of endless global batches from step `first_step` on."""
        batches = caption_batches.training_batches(
            self._data.records,
            self._data.inputs,
            self._data.options,
            batch_size=self._batch_size,
            seed=self._data.seed,
            first_step=first_step,
            draws=self._objective.draws,
            with_references=self._objective.wants_references,
            own_rows=partial(share, part=self._worker.index, parts=self._worker.count),
        )
        steps = tf.data.Dataset.counter(first_step)
        return tf.data.Dataset.zip(batches, steps).map(self._with_rates)

    def _with_rates(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds what of the loss changes by epoch: a pure function of the step, as the batch is."""
        return {**batch, **self._objective.rates(step // self.steps_per_epoch)}

    def loss(self, batch: Any, training: bool) -> Mapping[str, LossTerm]:
        """The objective's terms on one replica's share of a batch."""
        return self._objective.loss(self.model, batch, training)

    def remark(self, metrics: Mapping[str, float]) -> str | None:
        """Returns the warning of the objective."""
        return self._objective.remark(metrics)

    def evaluate(self, step: int) -> Evaluation:
        """Validation loss, caption metrics, sample captions, where they were looked for."""
        del step
        found = self._validator.evaluate()
        return dataclasses.replace(
            found,
            metrics={**self._validation_losses.evaluate(), **found.metrics},
            images={**found.images, **self._attention()},
        )

    def _attention(self) -> dict[str, np.ndarray]:
        """Sheets of the first validation images; nothing without pictures, or maps to show."""
        if why_no_maps(self.model.name, self._data.inputs) or not self._pictures:
            return {}
        said = self._captioning.captions(self._shown)
        grid_shape = self._data.records.manifest["options"]["grid_shape"]
        found = attention_maps(self.model, self._data.vocabulary, self._shown, said, grid_shape)
        return {"attention": attention_sheets(self._pictures, said, found)}

    @cached_property
    def _shown(self) -> dict[str, tf.Tensor]:
        """What the captioner is shown of the images in `_pictures`."""
        batch = next(iter(self._image_batches()))
        return {
            name: tensor[: len(self._pictures)]
            for name, tensor in batch.items()
            if name != "image_id"
        }

    @cached_property
    def _pictures(self) -> list[np.ndarray]:
        """What was seen of the first validation images, as far as the records hold pictures."""
        records = self._data.records
        if VALIDATION_SPLIT not in records.splits:
            return []
        first = itertools.islice(captions.examples(records, VALIDATION_SPLIT), _SHEETS)
        pixels = self._data.inputs.find(Pixels)
        backbone = records.manifest["options"].get("backbone")
        return [
            visible_part(decode_image(example["image"]).numpy(), pixels, backbone)
            for example in first
            if example["image"]
        ]

    def _image_batches(self) -> tf.data.Dataset:
        return caption_batches.image_batches(
            self._data.records, VALIDATION_SPLIT, self._data.inputs, batch_size=CAPTIONED_AT_ONCE
        )

    @cached_property
    def _validation_losses(self) -> ValidationLosses:
        if VALIDATION_SPLIT not in self._data.records.splits:
            return ValidationLosses({}, self._validation_loss)
        batches = caption_batches.validation_batches(
            self._data.records,
            VALIDATION_SPLIT,
            self._data.inputs,
            self._data.options,
            batch_size=self._batch_size,
        )
        return ValidationLosses({"captions": batches}, self._validation_loss)

    def _validation_loss(self, batch: Any, training: bool) -> dict[str, LossTerm]:
        del training
        return self._objective.validation_loss(self.model, batch["captions"])
