"""Records for training and validation of a captioner, opened and checked together."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from pipelines import caption_batches
from pipelines.caption_batches import CaptionOptions
from pipelines.inputs.spec import InputSpec
from r2m.configuration.settings import VALIDATION_SPLIT
from r2m.inference.captioner_inputs import caption_options, record_inputs
from r2m.tasks.training_records import open_training_records
from tfrecords.core.records import Records
from tfrecords.core.vocabulary import Vocabulary


class CaptionerData(NamedTuple):
    """Opened records and options for reading them.

    Attributes:
        records: records of kind `captions`.
        vocabulary: vocabulary of the records.
        inputs: inputs that the captioner reads from the records.
        options: captions of an image in a batch.
        seed: seed of the order of batches.
        views: whether training draws the stored views of images.
    """

    records: Records
    vocabulary: Vocabulary
    inputs: InputSpec
    options: CaptionOptions
    seed: int
    views: bool = True

    def signature(self, split: str) -> dict[str, tf.TensorSpec]:
        """Returns the signature of the inputs of images of a split."""
        return caption_batches.image_signature(self.records, split, self.inputs)


def open_data(config: Any, seed: int) -> CaptionerData:
    """Opens the records that `config.data` names; `seed` determines the order of batches.

    Raises:
        InputError: the path is missing or contains no finished `captions` records, there is no
            training data, or they lack the features that the model requires.
    """
    records = open_training_records(config)
    if VALIDATION_SPLIT not in records.splits:
        logging.warning(
            "%s has no split %r: nothing is captioned or scored during training",
            records.folder,
            VALIDATION_SPLIT,
        )
    inputs, options = record_inputs(config, records), caption_options(config)
    return CaptionerData(records, records.vocabulary(), inputs, options, seed, config.data.views)
