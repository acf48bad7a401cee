"""A trained visual-semantic embedding: vectors of images and of sentences in one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tfrecords.records import Records
from tfrecords.vocabulary import Vocabulary

ENCODED_AT_ONCE = 128


class RetrievalRun:
    """A trained run that encodes images and sentences (made by `r2m.load`).

    Attributes:
        path: the run folder.
        vocabulary: of the sentences.
        similarity: what compares vectors: `cosine` (the dot product), or `order`.
        size: D of the vectors.
    """

    path: Path
    vocabulary: Vocabulary
    similarity: Literal["cosine", "order"]
    size: int

    def encode_sentences(
        self, texts: Sequence[str], batch_size: int = ENCODED_AT_ONCE
    ) -> np.ndarray:
        """Returns float32[N, D] of sentences, in their order."""
        raise NotImplementedError

    def encode_images(
        self, paths: Sequence[Path], batch_size: int = ENCODED_AT_ONCE
    ) -> np.ndarray:
        """Returns float32[N, D] of image files, in their order."""
        raise NotImplementedError

    def encode_records(
        self, records: Records | str | Path, split: str
    ) -> tuple[list[str], np.ndarray, list[list[str]]]:
        """Returns the names of a split's images, their vectors float32[N, D] and their captions."""
        raise NotImplementedError
