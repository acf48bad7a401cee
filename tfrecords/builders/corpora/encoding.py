"""Encoding of the sentences of a bucket as `corpora` records.

Features of a record:

| name | type | description |
|---|---|---|
| `sentence` | int64 [T] | word ids with the start and end marker |
| `concepts` | int64 [K] | ids of the concepts, each once, in order of first mention |
| `concept_counts` | int64 [K] | number of objects of each concept in the sentence, 1..9 |
| `text` | string | the original sentence, HTML entities decoded |
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from tfrecords.core.examples import bytes_entry, example_from_entries, int64_entry, varint
from tfrecords.core.records import VOCABULARY
from tfrecords.core.shards import Dropped, ShardItem
from tfrecords.core.vocabulary import END_ID, START_ID, Vocabulary

_CACHED_COMBINATIONS = 1 << 14


def encode_buckets(
    scratch: Path,
    max_unknown_fraction: float,
    singulars: dict[str, str],
    buckets: Sequence[tuple[Path, int]],
    side: Literal["head", "rest"],
) -> Iterator[ShardItem]:
    """Yields the records of a shard: the heads (validation) or the rests (train) of some buckets.

    `tfrecords.builders.corpora.sorting` describes the lines of a bucket.

    Args:
        scratch: the folder with the vocabulary of the build.
        max_unknown_fraction: sentences with more unknown words are dropped.
        singulars: plural -> singular, replaced in the sentence.
        buckets: the bucket files, each with the number of sentences in its head.
        side: the part of each bucket to encode.
    """
    vocabulary = Vocabulary.load(scratch / VOCABULARY)
    # Bytes are mapped to bytes: only the words of a line are split, and nothing is decoded.
    ids = {word.encode(): varint(number) for number, word in enumerate(vocabulary.words)}
    start, end, unknown = varint(START_ID), varint(END_ID), varint(vocabulary.unk_id)
    folded = {p.encode(): ids.get(s.encode(), unknown) for p, s in singulars.items()}
    ids_of_words = ids | folded
    # A few combinations of concepts cover most sentences.
    concept_entries = lru_cache(_CACHED_COMBINATIONS)(partial(_concept_entries, ids))
    for path, head in buckets:
        wanted = (0, head) if side == "head" else (head, None)
        with path.open("rb") as stream:
            for line in itertools.islice(stream, *wanted):
                _, concepts, words, text = line[:-1].split(b"\t")
                sentence = [ids_of_words.get(word, unknown) for word in words.split(b" ")]
                if sentence.count(unknown) > max_unknown_fraction * len(sentence):
                    yield Dropped("too_many_unknown")
                    continue
                yield example_from_entries(
                    (
                        concept_entries(concepts),
                        int64_entry("sentence", b"".join((start, *sentence, end))),
                        bytes_entry("text", text),
                    )
                )


def _concept_entries(ids: Mapping[bytes, bytes], concepts: bytes) -> bytes:
    """Returns the two features of a bucket line's concepts, such as `dog 1 cat 2`."""
    fields = concepts.split()
    counts = bytes(map(int, fields[1::2]))  # below 128 a number is its own varint
    return int64_entry("concept_counts", counts) + int64_entry(
        "concepts", b"".join([ids[concept] for concept in fields[::2]])
    )


def corpora_features() -> Any:
    """Returns the `tfds.features.FeaturesDict` of the records."""
    import numpy as np
    import tensorflow_datasets as tfds

    return tfds.features.FeaturesDict(
        {
            "sentence": tfds.features.Tensor(shape=(None,), dtype=np.int64),
            "concepts": tfds.features.Tensor(shape=(None,), dtype=np.int64),
            "concept_counts": tfds.features.Tensor(shape=(None,), dtype=np.int64),
            "text": tfds.features.Text(),
        }
    )
