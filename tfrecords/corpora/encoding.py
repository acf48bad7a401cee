"""From the sentences of a bucket to `corpora` records.

Features of a record:

| name | type | what |
|---|---|---|
| `sentence` | int64 [T] | word ids with the start and end marker |
| `concepts` | int64 [K] | ids of the concepts mentioned, each once, in order of first mention |
| `concept_counts` | int64 [K] | how many objects of each the sentence speaks of, 1..9 |
| `text` | string | the sentence as it was found, HTML entities decoded |
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from tfrecords.records import VOCABULARY
from tfrecords.vocabulary import END_ID, START_ID, Vocabulary
from tfrecords.writing.examples import bytes_entry, example_from_entries, int64_entry, varint
from tfrecords.writing.shards import Dropped, ShardItem

_COMBINATIONS_HELD = 1 << 14


def encode_buckets(
    scratch: Path,
    max_unknown_fraction: float,
    singulars: dict[str, str],
    buckets: Sequence[tuple[Path, int]],
    side: Literal["head", "rest"],
) -> Iterator[ShardItem]:
    """A shard job: the records of the head (validation) or the rest (train) of some buckets.

    For the lines of a bucket see `tfrecords.corpora.sorting`.

    Args:
        scratch: the folder with the vocabulary of the build.
        max_unknown_fraction: sentences with more unknown words are dropped.
        singulars: plural -> singular, replaced in the sentence.
        buckets: the bucket files, each with the number of sentences in its head.
        side: which sentences to take.
    """
    vocabulary = Vocabulary.load(scratch / VOCABULARY)
    # From bytes to bytes: of a line only the words are taken apart, and nothing is decoded.
    ids = {word.encode(): varint(number) for number, word in enumerate(vocabulary.words)}
    start, end, unknown = varint(START_ID), varint(END_ID), varint(vocabulary.unk_id)
    folded = {p.encode(): ids.get(s.encode(), unknown) for p, s in singulars.items()}
    ids_of_words = ids | folded
    # Few combinations of concepts make up most sentences.
    concept_entries = lru_cache(_COMBINATIONS_HELD)(partial(_concept_entries, ids))
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
    """The two features of what the passes before have noted as `dog 1 cat 2`."""
    fields = concepts.split()
    counts = bytes(map(int, fields[1::2]))  # below 128 a number is its own varint
    return int64_entry("concept_counts", counts) + int64_entry(
        "concepts", b"".join([ids[concept] for concept in fields[::2]])
    )


def corpora_features() -> Any:
    """The `tfds.features.FeaturesDict` of the records."""
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
