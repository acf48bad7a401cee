"""Records for training and validation of an embedding, opened and checked together."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from pipelines import caption_batches
from pipelines.inputs.spec import InputSpec
from pipelines.pairs import PairCounts, compact_lines, count_pairs
from pipelines.retrieval_batches import PairOptions
from r2m.configuration.settings import TRAINING_SPLIT, VALIDATION_SPLIT
from r2m.inference.captioner_inputs import record_inputs
from r2m.inference.retrieval_model import pair_options
from r2m.tasks.retrieval.teacher import Teacher, open_teacher
from r2m.tasks.training_records import open_training_records
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.core.vocabulary import Vocabulary


class RetrievalData(NamedTuple):
    """Opened records and options for reading them.

    Attributes:
        records: records of kind `captions`.
        vocabulary: vocabulary of the records.
        inputs: inputs that the image encoder reads from the records.
        options: sentences and batching.
        counts: pairs of the training split.
        seed: seed of the order of batches.
        views: whether training draws the stored views of images.
        teacher: vectors of trained embeddings to learn from; None for none.
    """

    records: Records
    vocabulary: Vocabulary
    inputs: InputSpec
    options: PairOptions
    counts: PairCounts
    seed: int
    views: bool = True
    teacher: Teacher | None = None

    @property
    def validates(self) -> bool:
        """True if there is a validation split."""
        return VALIDATION_SPLIT in self.records.splits

    def signature(self, split: str) -> dict[str, tf.TensorSpec]:
        """Returns the signature of the inputs of images of a split."""
        return caption_batches.image_signature(self.records, split, self.inputs)


def open_data(config: Any, seed: int) -> RetrievalData:
    """Opens the records that `config.data` names; `seed` determines the order of batches.

    Raises:
        InputError: the path is missing or contains no finished `captions` records, there is no
            training data, or they lack the features that the model requires.
    """
    records = open_training_records(config)
    images = records.count(TRAINING_SPLIT)
    if images < 2:
        raise InputError(
            f"{records.folder}: split {TRAINING_SPLIT!r} has {images} image, and nothing to rank "
            "it against: an embedding needs at least two images"
        )
    inputs = record_inputs(config, records)
    counts = count_pairs(records, TRAINING_SPLIT, inputs.stored)
    lines = compact_lines(records, TRAINING_SPLIT, inputs.columns, views=config.data.views)
    counts = counts._replace(lines=lines)
    if VALIDATION_SPLIT in records.splits:
        count_pairs(records, VALIDATION_SPLIT, inputs.stored)  # rejects missing features
    else:
        logging.warning(
            "%s has no split %r: recalls are not computed during training",
            records.folder,
            VALIDATION_SPLIT,
        )
    return RetrievalData(
        records=records,
        vocabulary=records.vocabulary(),
        inputs=inputs,
        options=pair_options(config),
        counts=counts,
        seed=seed,
        views=config.data.views,
        teacher=_teacher(config, records),
    )


def _teacher(config: Any, records: Records) -> Teacher | None:
    runs = [run.strip() for run in config.teacher.runs.split(",") if run.strip()]
    return (
        open_teacher(runs, config.teacher.records or str(records.folder), records) if runs else None
    )
