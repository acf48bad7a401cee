"""Training stage of a visual-semantic embedding."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import caption_batches, captions, retrieval_batches
from r2m.configuration.settings import VALIDATION_SPLIT
from r2m.engine.distribution.sharing import share
from r2m.engine.distribution.workers import Worker
from r2m.engine.stage import Evaluation, LossTerm
from r2m.evaluation.retrieval import retrieval_metrics
from r2m.inference.encoding import ENCODED_AT_ONCE, Encoding
from r2m.tasks.retrieval.data import RetrievalData
from r2m.tasks.retrieval.objective import RankingObjective
from r2m.tasks.retrieval.projector import write_projector

RECALL_SUM = "recall_sum"


class RetrievalStage:
    """An embedding, its data, its objective and its validation (an `engine.stage.Stage`)."""

    name = "ranking"
    # A step computes only the words of captions, whose number XLA needs in advance.
    compiles = False
    compares_rows = True

    def __init__(
        self,
        *,
        data: RetrievalData,
        model: Any,
        objective: RankingObjective,
        batch_size: int,
        network_rate: float,
        signature: Mapping[str, tf.TensorSpec],
        folder: Path,
        worker: Worker,
    ) -> None:
        """Builds the stage; call inside the strategy's scope.

        Args:
            data: opened records.
            model: the embedding.
            objective: objective of the training.
            batch_size: captions of a global batch.
            network_rate: learning rate factor of the network in a model of pixels.
            signature: signature of the model's inputs of images.
            folder: folder of the run, to which vectors for TensorBoard's projector are written.
            worker: this process, of those that train together.
        """
        self.model = model
        # The rows of a batch.
        self.unit = "pairs" if data.options.captions_per_image == 1 else "images"
        self.fingerprint: Mapping[str, str] = {"vocabulary": data.vocabulary.sha256}
        self._data, self._objective, self._batch_size = data, objective, batch_size
        self._network_rate, self._folder, self._worker = network_rate, folder, worker
        self._encoding = Encoding(model, signature)

    @property
    def best_metric(self) -> tuple[str | None, str]:
        """Metric that selects the best checkpoint: the sum of the six recalls."""
        return (RECALL_SUM if self._data.validates else None, "max")

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch, see `pipelines.retrieval_batches.PairOptions`."""
        return retrieval_batches.batches_per_epoch(
            self._data.counts, self._data.options, self._batch_size
        )

    @property
    def trainable_variables(self) -> list[Any]:
        """Variables that are not frozen."""
        return list(self.model.trainable_variables)

    def learning_rate_factor(self, variable: Any) -> float:
        """Returns the learning rate factor of a variable."""
        network = self.model.network
        own = set() if network is None else {id(v) for v in network.trainable_variables}
        return self._network_rate if id(variable) in own else 1.0

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        """Returns this worker's rows of endless global batches, from step `first_step` on."""
        data = self._data
        batches = retrieval_batches.training_batches(
            data.records,
            data.inputs,
            data.options,
            data.counts,
            vocabulary_size=len(data.vocabulary),
            batch_size=self._batch_size,
            seed=data.seed,
            first_step=first_step,
            own_rows=partial(share, part=self._worker.index, parts=self._worker.count),
            views=data.views,
            more=data.teacher and data.teacher.vectors,
        )
        steps = tf.data.Dataset.counter(first_step)
        return tf.data.Dataset.zip(batches, steps).map(self._with_rates)

    def _with_rates(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Adds the scalars of the epoch, a pure function of the step."""
        return {**batch, **self._objective.rates(step // self.steps_per_epoch)}

    def loss(self, batch: Any, training: bool) -> Mapping[str, LossTerm]:
        """Returns the loss terms of one replica's pairs."""
        return self._objective.loss(self.model, batch, training)

    def remark(self, metrics: Mapping[str, float]) -> str | None:
        """Returns the warning of the objective."""
        return self._objective.remark(metrics)

    def evaluate(self, step: int) -> Evaluation:
        """Returns recalls and ranks of the validation split, and writes its vectors for display."""
        del step
        if not self._data.validates:
            return Evaluation(metrics={})
        sentences, owners, texts = self._validation_sentences
        names, images = self._encoding.image_batches(self._validation_images)
        vectors = self._encoding.sentences(sentences)
        metrics = retrieval_metrics(images, vectors, owners, self.model.similarity)
        spread = {
            f"{name}_spread": float(np.mean(np.std(found, axis=0)) * np.sqrt(found.shape[1]))
            for name, found in (("image", images), ("sentence", vectors))
        }
        if self._worker.is_chief:
            write_projector(self._folder, names, images, owners, texts, vectors)
        return Evaluation(metrics={**metrics, **spread})

    @cached_property
    def _validation_images(self) -> tf.data.Dataset:
        return caption_batches.image_batches(
            self._data.records, VALIDATION_SPLIT, self._data.inputs, batch_size=ENCODED_AT_ONCE
        )

    @cached_property
    def _validation_sentences(self) -> tuple[list[list[int]], np.ndarray, list[str]]:
        """Word ids of all captions, the image index of each int64[M], and their texts."""
        records, options = self._data.records, self._data.options
        parse = captions.parser(records, ("texts", "sentences"))
        lines = tf.data.TFRecordDataset(records.shards(VALIDATION_SPLIT)).batch(1)
        rows: list[list[int]] = []
        owners: list[int] = []
        texts: list[str] = []
        for image, found in enumerate(lines.map(lambda line: parse(line))):
            tokens, lengths = retrieval_batches.pad_sentences(found["sentences"][0], options)
            rows += [
                row[:length].tolist()
                for row, length in zip(tokens.numpy(), lengths.numpy(), strict=True)
            ]
            texts += [text.decode() for text in found["texts"].numpy()[0].tolist()]
            owners += itertools.repeat(image, len(rows) - len(owners))
        return rows, np.array(owners), texts
