"""Orders the hypotheses of trained captioners by consensus with similar training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from models.decoding.search import Captions
from pipelines.inputs.global_vector import GlobalVector
from r2m.configuration.settings import TRAINING_SPLIT
from r2m.inference.captioner_ensemble import CaptionerEnsemble
from r2m.inference.consensus import ConsensusOptions, open_consensus
from r2m.inference.feature_origin import check_same_origin
from r2m.inference.loaded_captioner import LoadedCaptioner
from tfrecords.records import Records, check_same_vocabulary


class ConsensusReranker:
    """Values hypotheses by the captions of similar training images; see `consensus`.

    Attributes:
        options: how hypotheses are valued.
        inputs: that it reads besides those of the captioner.
    """

    inputs = (GlobalVector(),)

    def __init__(
        self, loaded: LoadedCaptioner | CaptionerEnsemble, options: ConsensusOptions
    ) -> None:
        """Opens the records that the (first) captioner was trained on.

        Raises:
            InputError: the records are gone, hold no vectors to compare images by or vectors made
                in another way than the captioner's features, or have another vocabulary.
        """
        self.options = options
        self._records = loaded.open_records(loaded.folders[0].config.data.captions)
        check_same_vocabulary(
            f"run {loaded.folders[0].path}", loaded.vocabulary.sha256,
            str(self._records.folder), self._records.vocabulary_sha256,
        )  # fmt: skip
        self._consensus = open_consensus(self._records, TRAINING_SPLIT, options)
        # The vectors of image files are made as the features of these members.
        extracted = [own for own in loaded.trained_on if own.reads_backbone]
        for own in extracted or loaded.trained_on[:1]:
            self._check_origin(str(own.path), own.backbone)

    def check_records(self, records: Records) -> None:
        """Raises `InputError` unless the vectors of records are made as the training images'."""
        self._check_origin(str(records.folder), records.manifest["options"].get("backbone"))

    def _check_origin(self, other: str, backbone: Mapping[str, Any] | None) -> None:
        ours = self._records.manifest["options"].get("backbone")
        check_same_origin(f"those of {other}", backbone, f"those of {self._records.folder}", ours)

    def __call__(self, inputs: Mapping[str, tf.Tensor], found: Captions) -> np.ndarray:
        """Returns the value of each hypothesis, float[B, R]; `inputs` include `global`."""
        return self._consensus.values(inputs["global"].numpy(), *found)
