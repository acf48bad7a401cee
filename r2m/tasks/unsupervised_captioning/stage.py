"""Stage of the curriculum for the training engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.decoding.search import DecodingOptions
from models.r2m import R2M
from pipelines import images
from pipelines.batching import batches_per_epoch
from pipelines.inputs.spec import InputSpec
from pipelines.training_sentences import training_sentences
from r2m.configuration.settings import TRAINING_SPLIT, VALIDATION_SPLIT
from r2m.engine.distribution.sharing import share
from r2m.engine.distribution.workers import Worker
from r2m.engine.stage import Evaluation, LossTerm
from r2m.inference.captioning import Captioning, search_options
from r2m.tasks.unsupervised_captioning import data as stage_data
from r2m.tasks.unsupervised_captioning import objectives
from r2m.tasks.unsupervised_captioning.curriculum import StageSpec
from r2m.tasks.unsupervised_captioning.image_vectors import ImageVectors
from r2m.tasks.unsupervised_captioning.rewards import Rewards
from r2m.tasks.validation import Validator
from r2m.tasks.validation_losses import ValidationLosses

# Inputs of the histograms of the decoder's gates.
_GATE_INPUTS = ("concepts", "concept_lengths", "tokens", "lengths")
_GATE_ROWS = 64


class CurriculumStage:
    """One stage: the model, its data, its loss and its validation (an `engine.stage.Stage`)."""

    def __init__(
        self,
        *,
        spec: StageSpec,
        config: Any,
        data: stage_data.Data,
        model: R2M,
        vectors: ImageVectors | None,
        worker: Worker,
        rewards: Rewards | None = None,
    ) -> None:
        """Builds a stage; call inside the strategy's scope.

        Args:
            spec: the stage.
            config: configuration of the whole experiment.
            data: opened records.
            model: the network, shared by all stages.
            vectors: computes the vectors of images; None for stored vectors.
            worker: this process, of those that train together.
            rewards: rewards of a stage that is trained by them.

        Raises:
            InputError: the stage is trained on images and there are none.
        """
        self.name = spec.name
        self.unit = "images" if spec.images else "sentences"
        self.model = model
        self.fingerprint: Mapping[str, str] = {"vocabulary": data.vocabulary.sha256}
        self._spec = spec
        self._data = data
        self._settings = config.stages[spec.name]
        self._options = objectives.ObjectiveOptions(
            reconstruction_weight=config.loss.reconstruction_weight,
            margin=config.loss.margin,
            batch_size=self._settings.batch_size,
        )
        search = search_options(config, data.vocabulary)
        self._rollout = DecodingOptions(
            beam_size=1, max_length=self._settings.max_length, suppressed=search.suppressed
        )
        self._vectors = vectors
        self._compiled = config.training.jit and spec.compiles
        self._worker, self._rewards = worker, rewards
        signature = InputSpec((data.concepts,)).signature()
        captioning = Captioning(model, data.vocabulary, search, signature)
        self._validator = _validator(data, captioning)
        if spec.images:
            stage_data.require_images(data, spec)

    @property
    def best_metric(self) -> tuple[str | None, str]:
        """Metric that selects the best checkpoint, and its direction (`max` or `min`).

        It is CIDEr if there are references, else the validation loss, else None.
        """
        if self._validator.has_references:
            return "cider", "max"
        has_loss = stage_data.validation_sources(self._data, self._spec)
        return ("loss" if has_loss else None), "min"

    @property
    def steps_per_epoch(self) -> int:
        """Batches that contain every record once: sentences, if the stage is trained on them."""
        records = self._data.sentences if self._spec.sentences else self._data.images
        assert records is not None  # a stage without sentences has images
        return batches_per_epoch(records.count(TRAINING_SPLIT), self._settings.batch_size)

    @property
    def trainable_variables(self) -> list[Any]:
        """Variables that the stage's loss reaches and that are not frozen."""
        chosen: dict[int, Any] = {}
        for part in self._spec.parts:
            value = getattr(self.model, part)
            variables = value.trainable_variables if isinstance(value, keras.Layer) else [value]
            chosen.update({id(variable): variable for variable in variables})
        return list(chosen.values())

    @property
    def compiles(self) -> bool:
        """True if XLA can compile the loss."""
        return self._spec.compiles

    @property
    def compares_rows(self) -> bool:
        """True if batches cannot be divided into parts."""
        return self._spec.compares_rows

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        """Returns this worker's rows of endless global batches, from step `first_step` on."""
        return stage_data.training_dataset(
            self._data,
            self._spec,
            batch_size=self._settings.batch_size,
            max_length=self._settings.max_length,
            first_step=first_step,
            own_rows=partial(share, part=self._worker.index, parts=self._worker.count),
            few_shapes=self._compiled,
            more=self._rewards.tensors if self._rewards else None,
        )

    def loss(self, batch: Any, training: bool) -> dict[str, LossTerm]:
        """Computes the terms of the objective on one replica's share of a batch, by name."""
        if self._rewards is not None:
            return self._rewards.objective.loss(self.model, batch["images"], training)
        terms: dict[str, LossTerm] = {}
        if self._spec.sentences and "sentences" in batch:
            terms |= objectives.sentence_terms(
                self.model,
                batch["sentences"],
                training,
                reconstruct=self._spec.reconstruct,
                options=self._options,
            )
        if self._spec.images and "images" in batch:
            pictures = batch["images"]
            if self._vectors is not None:
                pictures = {**pictures, "global": self._vectors.of_batch(pictures)}
            terms |= objectives.image_terms(
                self.model,
                pictures,
                training,
                reconstruct=self._spec.reconstruct,
                options=self._options,
                search=self._rollout,
            )
        return terms

    def remark(self, metrics: Mapping[str, float]) -> str | None:
        """Returns a warning about rewards, see `SelfCritical.remark`."""
        return self._rewards.objective.remark(metrics) if self._rewards else None

    def evaluate(self, step: int) -> Evaluation:
        """Returns validation loss (total and terms), caption metrics, sample captions and gates."""
        del step
        found = self._validator.evaluate()
        return Evaluation(
            metrics={**self._validation_losses.evaluate(), **found.metrics},
            texts=found.texts,
            images=found.images,
            histograms=self._gates(),
        )

    @cached_property
    def _validation_losses(self) -> ValidationLosses:
        sources: dict[str, tf.data.Dataset] = {
            source: stage_data.validation_dataset(
                self._data,
                source,
                batch_size=self._settings.batch_size,
                max_length=self._settings.max_length,
            )
            for source in stage_data.validation_sources(self._data, self._spec)
        }
        return ValidationLosses(sources, self.loss)

    @cached_property
    def _gate_inputs(self) -> dict[str, tf.Tensor]:
        batch = self._validation_losses.first_batch() or {}
        return {name: batch[name][:_GATE_ROWS] for name in _GATE_INPUTS if name in batch}

    @cached_property
    def _gate_values(self) -> Callable[[], dict[str, tf.Tensor]]:
        # In a graph, because an eager search takes as long as the whole validation.
        return tf.function(
            lambda: objectives.gate_values(self.model, self._gate_inputs, self._rollout),
            autograph=False,
        )

    def _gates(self) -> dict[str, np.ndarray]:
        """Computes the decoder's gates on the first rows of the first validation batch."""
        if not self._gate_inputs:
            return {}
        return {f"decoder/{name}": values.numpy() for name, values in self._gate_values().items()}


def _validator(data: stage_data.Data, captioning: Captioning) -> Validator:
    if not data.has_validation_images:
        return Validator(captioning, data.vocabulary, None)
    assert data.images is not None
    batches = images.image_batches(data.images, VALIDATION_SPLIT, InputSpec((data.concepts,)))
    examples = images.examples(data.images, VALIDATION_SPLIT)
    open_known = partial(training_sentences, data.sentences, TRAINING_SPLIT)
    return Validator(captioning, data.vocabulary, batches, examples, open_known)
