"""Vectors of trained embeddings for the training pairs, from which another embedding learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from pipelines import captions
from r2m.configuration.settings import TRAINING_SPLIT
from r2m.inference.embedding_ensemble import EmbeddingEnsemble
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records

_MAX_LISTED = 3  # images in an error message


class Teacher(NamedTuple):
    """Vectors of the teacher for all training images and their captions.

    Attributes:
        images: float16[N, E].
        sentences: float16[M, E], the captions of all images, in the order of the images.
        first: int64[N], index of the first caption of each image.
        table: image name -> index of the image.
        checkpoints: checksums of the teachers' checkpoints.
    """

    images: tf.Tensor
    sentences: tf.Tensor
    first: tf.Tensor
    table: tf.lookup.StaticHashTable
    checkpoints: list[str]

    @property
    def size(self) -> int:
        """E, size of the vectors."""
        return int(self.images.shape[1])

    def vectors(self, names: tf.Tensor, captions: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the vectors of a batch.

        Args:
            names: string[B], image names.
            captions: int32[B, S], numbers of the chosen captions of each image.

        Returns:
            `teacher_images` float16[B, E], `teacher_sentences` float16[B, S, E].
        """
        places = self.table.lookup(names)
        first = tf.gather(self.first, places)[:, tf.newaxis]
        return {
            "teacher_images": tf.gather(self.images, places),
            "teacher_sentences": tf.gather(self.sentences, first + tf.cast(captions, tf.int64)),
        }


def open_teacher(runs: Sequence[str], folder: str, student: Records) -> Teacher:
    """Encodes the training images and captions with trained embeddings.

    Args:
        runs: run folders; the mean of several similarities is learned.
        folder: records of kind `captions` with the features that the teacher reads.
        student: records of the training, with the same images and captions.

    Raises:
        InputError: a run or the records do not exist or do not fit each other, the similarity of a
            teacher is not the cosine, or an image has no such captions in the teacher's records.
    """
    teacher = EmbeddingEnsemble.load(runs)
    if teacher.similarity != "cosine":
        raise InputError(
            f"config.teacher.runs: {runs[0]} compares vectors by {teacher.similarity} similarity: "
            "only embeddings with cosine similarity can teach another"
        )
    records = captions.open_captions(folder)
    names, texts = _captions_of(records)
    own_names, own_texts = _captions_of(student)
    known = dict(zip(names, texts, strict=True))
    lacking = [
        name for name, own in zip(own_names, own_texts, strict=True) if known.get(name) != own
    ]
    if lacking:
        shown = ", ".join(lacking[:_MAX_LISTED]) + (", ..." if len(lacking) > _MAX_LISTED else "")
        raise InputError(
            f"config.teacher.records: {len(lacking)} training images have other captions in "
            f"{Path(folder)}, or are not there: {shown}; build both records from the same captions"
        )
    vectors = teacher.encode_records(records, TRAINING_SPLIT).astype(np.float16)
    flat = [text for own in texts for text in own]
    places, encoded = teacher.encode_known(flat)
    # A caption without a known word has the vector 0, whose similarities are all equal.
    sentences = np.zeros((len(flat), encoded.shape[1]), np.float16)
    sentences[places] = encoded
    counts = np.array([len(own) for own in texts], np.int64)
    table = tf.lookup.KeyValueTensorInitializer(names, tf.range(len(names), dtype=tf.int64))
    return Teacher(
        images=tf.constant(vectors),
        sentences=tf.constant(sentences),
        first=tf.constant(np.cumsum(counts) - counts),
        table=tf.lookup.StaticHashTable(table, default_value=-1),
        checkpoints=[member.folder.checkpoint.digest for member in teacher.members],
    )


def _captions_of(records: Records) -> tuple[list[str], list[list[str]]]:
    """Returns the names of the training images, and the captions of each."""
    parse = captions.parser(records, ("image_id", "texts"))
    names: list[str] = []
    texts: list[list[str]] = []
    for batch in (
        tf.data.TFRecordDataset(records.shards(TRAINING_SPLIT))
        .batch(1024)
        .map(lambda line: parse(line))
    ):
        names += [name.decode() for name in batch["image_id"].numpy()]
        texts += [[text.decode() for text in row.tolist()] for row in batch["texts"].numpy()]
    return names, texts
