"""Ensembles of visual-semantic embeddings, which average the similarities of their members."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from pipelines.inputs.spec import InputSpec
from r2m.inference.retrieval_run import RetrievalRun, load_embedding
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records


class EmbeddingEnsemble:
    """One or more embeddings of the same records.

    A vector concatenates those of the E members, divided by sqrt(E), so that the dot product of two
    vectors is the mean of the members' dot products.

    Attributes:
        members: the embeddings.
        similarity: similarity of two vectors: `cosine` (the dot product) or `order`.
        inputs: inputs that the image encoders read.
    """

    def __init__(self, members: Sequence[RetrievalRun]) -> None:
        """Joins the members; raises `InputError` if they are incompatible."""
        self.members = list(members)
        self.similarity: Literal["cosine", "order"] = members[0].similarity
        for member in members:
            if len(members) > 1 and member.similarity != "cosine":
                raise InputError(
                    f"{member.path} compares vectors by {member.similarity} similarity: only "
                    "embeddings with cosine similarity can be averaged; use it alone"
                )
        own: list[InputSpec] = [member.inputs for member in members]
        self.inputs = functools.reduce(InputSpec.union, own)

    @classmethod
    def load(cls, paths: Sequence[str]) -> EmbeddingEnsemble:
        """Loads embeddings from their run folders; for errors see `load_embedding`."""
        return cls([load_embedding(path) for path in paths])

    def encode_inputs(self, batch: Mapping[str, tf.Tensor]) -> np.ndarray:
        """Encodes a batch of `inputs`, B first, to float32[B, D]."""
        return self._join([member.encode_inputs(batch) for member in self.members])

    def encode_records(self, records: Records, split: str) -> np.ndarray:
        """Encodes the images of a split to float32[N, D]; see `RetrievalRun.encode_records`."""
        return self._join([member.encode_records(records, split)[1] for member in self.members])

    def encode_known(self, texts: Sequence[str]) -> tuple[list[int], np.ndarray]:
        """Encodes the sentences that contain a word of every member's vocabulary.

        Args:
            texts: N sentences.

        Returns:
            The indices of these K sentences, and their vectors float32[K, D].
        """
        places = [
            place
            for place, text in enumerate(texts)
            if all(member.knows(text) for member in self.members)
        ]
        known = [texts[place] for place in places]
        return places, self._join([member.encode_sentences(known) for member in self.members])

    def _join(self, vectors: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(vectors, axis=1) / np.sqrt(np.float32(len(vectors)))
