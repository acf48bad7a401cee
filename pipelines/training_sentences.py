"""Hashes of the sentences of a split, for the detection of captions that repeat one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.core.files import atomic_file, clear_disk_errors
from tfrecords.core.records import SENTENCE_LENGTHS, SENTENCE_WORDS, Records
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.language.tokenization import tokenize

_FORMAT_VERSION = 1
_AT_ONCE = 256
_BUCKETS = 2**63 - 1


class TrainingSentences:
    """Set of hashed sentences; a call returns whether captions are among the sentences."""

    def __init__(self, hashes: np.ndarray, vocabulary: Vocabulary) -> None:
        """Stores the hashes.

        Args:
            hashes: int64[S], hashes of the sentences' word ids, ascending.
            vocabulary: vocabulary of the sentences.
        """
        self.hashes, self._vocabulary = hashes, vocabulary

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """Returns bool[N]: whether each caption consists of the words of one of the sentences."""
        segmenter = self._vocabulary.segmenter
        words = [
            caption.split() if segmenter == "words" else tokenize(caption, segmenter=segmenter)
            for caption in captions
        ]
        ids = [" ".join(map(str, self._vocabulary.encode(row))) for row in words]
        if not ids or not self.hashes.size:
            return np.zeros(len(ids), bool)
        return np.isin(_hash(tf.constant(ids)).numpy(), self.hashes)


def training_sentences(records: Records, split: str) -> TrainingSentences:
    """Returns the sentences of a split of `captions` or `corpora` records.

    Their hashes are cached in the folder of the records, as `sentence_hashes-<split>.npz`. If the
    folder is not writable, the sentences are read again at every call.

    Raises:
        InputError: no such split.
    """
    path = records.folder / f"sentence_hashes-{split}.npz"
    hashes = _read(path, records.digest)
    if hashes is None:
        hashes = _hashes(records, split)
        try:
            with (
                clear_disk_errors(path.parent, resumes=False),
                atomic_file(path) as temporary,
                temporary.open("wb") as stream,
            ):
                np.savez(
                    stream,
                    format_version=np.int64(_FORMAT_VERSION),
                    records_digest=np.array(records.digest),
                    hashes=hashes,
                )
        except (OSError, InputError) as error:
            logging.info("the hashes of training sentences are not cached: %s: %s", path, error)
    return TrainingSentences(hashes, records.vocabulary())


def _read(path: Path, digest: str) -> np.ndarray | None:
    """Reads cached hashes; returns None without a cache, or if it belongs to other records."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            same = str(arrays["records_digest"]) == digest
            if same and int(arrays["format_version"]) == _FORMAT_VERSION:
                return np.asarray(arrays["hashes"], np.int64)
    except Exception as error:  # a damaged zip file can fail in any way
        logging.warning("%s is damaged (%s): reading the sentences again", path, error)
    return None


def _hashes(records: Records, split: str) -> np.ndarray:
    """Reads all sentences; returns the distinct hashes int64[S], ascending."""
    nested = records.kind == "captions"
    spec = {
        "sentence": tf.io.RaggedFeature(
            tf.int64,
            value_key=SENTENCE_WORDS if nested else "sentence",
            partitions=[tf.io.RaggedFeature.RowLengths(SENTENCE_LENGTHS)] if nested else (),
        )
    }

    def hash_batch(serialized: tf.Tensor) -> tf.Tensor:
        sentences = tf.io.parse_example(serialized, spec)["sentence"]
        if nested:
            sentences = sentences.merge_dims(0, 1)
        text = tf.strings.as_string(sentences[:, 1:-1])  # without start and end marker
        return _hash(tf.strings.reduce_join(text, axis=-1, separator=" "))

    batches = (
        tf.data.TFRecordDataset(records.shards(split))
        .batch(_AT_ONCE)
        .map(hash_batch, num_parallel_calls=2, deterministic=False)
    )
    return np.unique(np.concatenate([np.zeros(0, np.int64), *batches.as_numpy_iterator()]))


def _hash(text: tf.Tensor) -> tf.Tensor:
    """Returns the hashes int64[N] of strings of word ids."""
    return tf.strings.to_hash_bucket_fast(text, _BUCKETS)
