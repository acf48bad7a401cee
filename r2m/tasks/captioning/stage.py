"""Training stage of a supervised captioner, for any objective."""

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
from pipelines.training_sentences import training_sentences
from r2m.configuration.settings import TRAINING_SPLIT, VALIDATION_SPLIT
from r2m.engine.distribution.sharing import share
from r2m.engine.distribution.workers import Worker
from r2m.engine.stage import Evaluation, LossTerm
from r2m.inference.attention_maps import attention_maps, attention_sheets, visible_part, why_no_maps
from r2m.inference.captioning import CAPTIONED_AT_ONCE, Captioning
from r2m.tasks.captioning.data import CaptionerData
from r2m.tasks.validation import Validator
from r2m.tasks.validation_losses import ValidationLosses
from tfrecords.pictures.decoding import decode_image

# Validation images whose attention is shown.
_SHEETS = 4


class Objective(Protocol):
    """Objective of a captioner's training.

    Attributes:
        name: name of the stage and its run folder.
        needs_references: whether batches contain all captions of each image.
    """

    name: str
    needs_references: bool

    @property
    def compares_rows(self) -> bool:
        """True if the loss of one row depends on the other rows of the batch."""

    @property
    def more(self) -> caption_batches.MoreTensors | None:
        """Further tensors of batches."""

    def draws(self, tokens: tf.Tensor) -> tf.Tensor | None:
        """Returns the shape of random numbers for `tokens` int32[B, S, T + 1], or None."""

    def rates(self, epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns scalars to add to the batches of an epoch int64[]."""

    def loss(self, model: Any, batch: Any, training: bool) -> dict[str, LossTerm]:
        """Returns the loss terms of one replica's share of a batch."""

    def remark(self, metrics: Mapping[str, float]) -> str | None:
        """Returns a warning about the training metrics of a log interval."""

    def validation_loss(self, model: Any, batch: Any) -> dict[str, LossTerm]:
        """Returns the loss terms of captions of the validation split."""


class CaptionerStage:
    """A captioner, its data, its objective and its validation (an `engine.stage.Stage`)."""

    unit = "images"
    # A step computes only the words of captions, whose number XLA needs in advance. On padded words
    # a transformer compiled by XLA takes a third longer.
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
        """Builds the stage; call inside the strategy's scope.

        Args:
            data: opened records.
            model: the captioner.
            objective: objective of the training.
            batch_size: images of a global batch.
            network_rate: learning rate factor of the network in a captioner of pixels.
            captioning: captions images with the model, for validation.
            worker: this process, of those that train together.
        """
        self.model, self.name = model, objective.name
        # Part of a captioner of pixels that computes its features.
        self.network = model.network if isinstance(model, PixelCaptioner) else None
        self.fingerprint: Mapping[str, str] = {"vocabulary": data.vocabulary.sha256}
        self._data, self._objective, self._batch_size = data, objective, batch_size
        self._worker, self._network_rate, self._captioning = worker, network_rate, captioning
        records, validates = data.records, VALIDATION_SPLIT in data.records.splits
        self._validator = Validator(
            captioning,
            data.vocabulary,
            self._image_batches() if validates else None,
            captions.examples(records, VALIDATION_SPLIT) if validates else (),
            partial(training_sentences, records, TRAINING_SPLIT),
        )

    @property
    def best_metric(self) -> tuple[str | None, str]:
        """Metric that selects the best checkpoint: CIDEr if there are validation references."""
        return ("cider", "max") if self._validator.has_references else (None, "max")

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch, which contain every image once."""
        return batches_per_epoch(self._data.records.count(TRAINING_SPLIT), self._batch_size)

    @property
    def trainable_variables(self) -> list[Any]:
        """Variables that are not frozen."""
        return list(self.model.trainable_variables)

    def learning_rate_factor(self, variable: Any) -> float:
        """Returns the learning rate factor of a variable."""
        own = set() if self.network is None else {id(v) for v in self.network.trainable_variables}
        return self._network_rate if id(variable) in own else 1.0

    @property
    def compares_rows(self) -> bool:
        """True if the loss of one row depends on the other rows of the batch."""
        return self._objective.compares_rows

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        """Returns this worker's rows of endless global batches, from step `first_step` on."""
        batches = caption_batches.training_batches(
            self._data.records,
            self._data.inputs,
            self._data.options,
            batch_size=self._batch_size,
            seed=self._data.seed,
            first_step=first_step,
            draws=self._objective.draws,
            with_references=self._objective.needs_references,
            more=self._objective.more,
            views=self._data.views,
            own_rows=partial(share, part=self._worker.index, parts=self._worker.count),
        )
        steps = tf.data.Dataset.counter(first_step)
        return tf.data.Dataset.zip(batches, steps).map(self._with_rates)

    def _with_rates(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the scalars of the epoch, a pure function of the step."""
        return {**batch, **self._objective.rates(step // self.steps_per_epoch)}

    def loss(self, batch: Any, training: bool) -> Mapping[str, LossTerm]:
        """Returns the objective's loss terms of one replica's share of a batch."""
        return self._objective.loss(self.model, batch, training)

    def remark(self, metrics: Mapping[str, float]) -> str | None:
        """Returns the warning of the objective."""
        return self._objective.remark(metrics)

    def evaluate(self, step: int) -> Evaluation:
        """Returns validation loss, caption metrics, sample captions and attention sheets."""
        del step
        found = self._validator.evaluate()
        return dataclasses.replace(
            found,
            metrics={**self._validation_losses.evaluate(), **found.metrics},
            images={**found.images, **self._attention()},
        )

    def _attention(self) -> dict[str, np.ndarray]:
        """Returns attention sheets of the first validation images, if any can be drawn."""
        if why_no_maps(self.model.name, self._data.inputs) or not self._pictures:
            return {}
        texts = self._captioning.captions(self._sample_inputs)
        grid_shape = self._data.records.manifest["options"]["grid_shape"]
        found = attention_maps(
            self.model, self._data.vocabulary, self._sample_inputs, texts, grid_shape
        )
        return {"attention": attention_sheets(self._pictures, texts, found)}

    @cached_property
    def _sample_inputs(self) -> dict[str, tf.Tensor]:
        """Model inputs of the images in `_pictures`."""
        batch = next(iter(self._image_batches()))
        return {
            name: tensor[: len(self._pictures)]
            for name, tensor in batch.items()
            if name != "image_id"
        }

    @cached_property
    def _pictures(self) -> list[np.ndarray]:
        """Visible parts of the first validation images, if records contain pictures."""
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
