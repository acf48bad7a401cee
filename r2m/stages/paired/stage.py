"""The stage that trains a supervised captioner by cross entropy."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf

from losses.captions import caption_loss, kept_captions
from models.pixel_captioner import PixelCaptioner
from models.scheduled_sampling import sampled_inputs, sampling_probability
from pipelines import caption_batches, captions
from pipelines.batching import batches_per_epoch
from r2m.engine.distribution.sharing import share
from r2m.engine.distribution.workers import Worker
from r2m.engine.stage import Evaluation, LossTerm
from r2m.stages.paired.data import CaptionerData
from r2m.stages.paired.looking import attention_sheets, looked, nothing_to_show, seen_part
from r2m.stages.settings import TRAINING_SPLIT, VALIDATION_SPLIT
from r2m.stages.validation import Captioning, Validator
from r2m.stages.validation_losses import ValidationLosses
from tfrecords.features import decode_image

# Images that the beam search works on together: it gains from many, training may want few.
CAPTIONED_AT_ONCE = 100
# Validation images whose attention is shown.
_SHEETS = 4


Reduction = Literal["words", "captions"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropyOptions:
    """What is optimised.

    Attributes:
        smoothing: of the labels.
        reduction: what the sum is divided by: `words`, as self-critical.pytorch does, or
            `captions`, as in show and tell.
        drop_worst: part of the captions that is left out.
        drop_worst_after: epochs in which none is left out yet.
        sampling_start: epoch that scheduled sampling begins after; None for none.
        sampling_every: epochs between its increases.
        sampling_increase: of the probability, each time.
        sampling_most: the largest probability.
    """

    smoothing: float = 0.0
    reduction: Reduction = "words"
    drop_worst: float = 0.0
    drop_worst_after: int = 0
    sampling_start: int | None = None
    sampling_every: int = 5
    sampling_increase: float = 0.05
    sampling_most: float = 0.25

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        known = get_args(Reduction)
        if self.reduction not in known:
            raise ValueError(f"unknown reduction {self.reduction!r}; known: {', '.join(known)}")
        for name in ("smoothing", "drop_worst"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 0 or more and below 1")
        if not 0 <= self.sampling_most <= 1:
            raise ValueError(f"sampling_most={self.sampling_most} must be between 0 and 1")
        for name in ("drop_worst_after", "sampling_increase"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if self.sampling_start is not None and self.sampling_start < 0:
            raise ValueError(
                f"sampling_start={self.sampling_start} must not be negative; None is off"
            )
        if self.sampling_every < 1:
            raise ValueError(f"sampling_every={self.sampling_every} must be at least 1")

    @property
    def compares_rows(self) -> bool:
        """Whether some captions are left out for being worse than others."""
        return self.drop_worst > 0


class CaptionerStage:
    """A captioner, its data, its loss and its validation (an `engine.stage.Stage`)."""

    name = "cross_entropy"
    unit = "images"
    # A step works on as many captions as have a word left: XLA wants to know how many.
    compiles = False

    def __init__(
        self,
        *,
        data: CaptionerData,
        model: Any,
        loss: CrossEntropyOptions,
        batch_size: int,
        network_rate: float = 1.0,
        captioning: Captioning,
        worker: Worker,
    ) -> None:
        """Puts the stage together inside the strategy's scope.

        Args:
            data: opened records.
            model: the captioner.
            loss: what is optimised.
            batch_size: images of a global batch.
            network_rate: factor of the learning rate for the network that looks at pixels.
            captioning: of the model, for validation.
            worker: which of the processes that train together this is.
        """
        self.model = model
        self.fingerprint: Mapping[str, str] = {"vocabulary": data.vocabulary.sha256}
        self._data, self._loss, self._batch_size = data, loss, batch_size
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
        """Whether some captions are left out for being worse than others."""
        return self._loss.compares_rows

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        """This worker's rows of endless global batches from step `first_step` on."""
        batches = caption_batches.training_batches(
            self._data.records,
            self._data.options,
            batch_size=self._batch_size,
            seed=self._data.seed,
            first_step=first_step,
            with_draws=self._loss.sampling_start is not None,
            own_rows=partial(share, part=self._worker.index, parts=self._worker.count),
        )
        steps = tf.data.Dataset.counter(first_step)
        return tf.data.Dataset.zip(batches, steps).map(self._with_rates)

    def _with_rates(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds what of the loss changes by epoch: a pure function of the step, as the batch is."""
        options, epoch = self._loss, step // self.steps_per_epoch
        rates: dict[str, tf.Tensor] = {}
        if options.sampling_start is not None:
            rates["sampling_probability"] = sampling_probability(
                epoch,
                start=options.sampling_start,
                every=options.sampling_every,
                increase=options.sampling_increase,
                most=options.sampling_most,
            )
        if options.drop_worst:
            rates["drop_worst"] = tf.where(
                epoch >= options.drop_worst_after, options.drop_worst, 0.0
            )
        return {**batch, **rates}

    def loss(self, batch: Any, training: bool) -> dict[str, LossTerm]:
        """`cross_entropy` on one replica's share of a batch; `per_word` too, if by captions."""
        if "captions" in batch:  # a source of validation
            batch = batch["captions"]
        tokens = tf.reshape(batch["tokens"], [-1, tf.shape(batch["tokens"])[2]])
        lengths = tf.reshape(batch["lengths"], [-1])
        # An image is encoded once, whatever the number of its captions.
        memory = self.model.encode(batch, training=training)
        fed = tokens[:, :-1]
        if training and "draws" in batch:
            fed = self._own_words(memory, fed, batch)
        hidden = self.model.teacher_forced(memory, fed, training=training, lengths=lengths)
        weights, bias = self.model.output_layer
        drop_worst = batch.get("drop_worst") if training else None
        total, words = caption_loss(
            hidden,
            weights,
            bias,
            tokens[:, 1:],
            lengths,
            smoothing=self._loss.smoothing if training else 0.0,
            drop_worst=drop_worst,
        )
        if self._loss.reduction == "words":
            return {"cross_entropy": LossTerm(total, words)}
        captions = tf.size(lengths)
        if drop_worst is not None:
            captions = kept_captions(captions, drop_worst)
        # Sums by captions of different lengths cannot be compared: the log has the mean too.
        return {
            "cross_entropy": LossTerm(total, captions),
            "per_word": LossTerm(total, words, weight=0.0),
        }

    def _own_words(self, memory: Any, fed: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        probability = batch["sampling_probability"]
        draws = tf.reshape(batch["draws"], [-1, tf.shape(fed)[1], 2])
        return tf.cond(
            probability > 0.0,
            lambda: sampled_inputs(
                self.model,
                memory,
                fed,
                probability=probability,
                choices=draws[:, :, 0],
                draws=draws[:, :, 1],
            ),
            lambda: fed,
        )

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
        if nothing_to_show(self.model.name, self._data.options.features) or not self._pictures:
            return {}
        said = self._captioning.captions(self._shown)
        grid_shape = self._data.records.manifest["options"]["grid_shape"]
        found = looked(self.model, self._data.vocabulary, self._shown, said, grid_shape)
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
        pixels, backbone = self._data.options.pixels, records.manifest["options"].get("backbone")
        return [
            seen_part(decode_image(example["image"]).numpy(), pixels, backbone)
            for example in first
            if example["image"]
        ]

    def _image_batches(self) -> tf.data.Dataset:
        return caption_batches.image_batches(
            self._data.records, VALIDATION_SPLIT, self._data.options, batch_size=CAPTIONED_AT_ONCE
        )

    @cached_property
    def _validation_losses(self) -> ValidationLosses:
        if VALIDATION_SPLIT not in self._data.records.splits:
            return ValidationLosses({}, self.loss)
        batches = caption_batches.validation_batches(
            self._data.records, VALIDATION_SPLIT, self._data.options, batch_size=self._batch_size
        )
        return ValidationLosses({"captions": batches}, self.loss)
