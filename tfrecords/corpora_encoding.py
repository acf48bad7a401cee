"""From the sentences of a bucket to `corpora` records.

Features of a record:

| name | type | what |
|---|---|---|
| `sentence` | int64 [T] | word ids with the start and end marker |
| `concepts` | int64 [K] | ids of the concepts mentioned, each once, in order of first mention |
| `concept_counts` | int64 [K] | how many objects of each the sentence speaks of, 1..9 |
| `text` | string | the sentence as it was found |
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from tfrecords.concepts import ConceptDictionary, Mention
from tfrecords.corpora_sorting import fold, load_dictionary, read_bucket
from tfrecords.examples import bytes_feature, example_from_features, int64_feature
from tfrecords.records import CONCEPTS, VOCABULARY
from tfrecords.shards import Dropped, ShardItem
from tfrecords.vocabulary import Vocabulary

_NUMBERS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 9,
}
_DIGITS = {str(number): min(number, 9) for number in range(2, 11)}
_GROUPS = {
    *("group", "groups", "crowd", "crowds", "bunch", "bunches", "lot", "lots"),
    *("herd", "herds", "flock", "flocks"),
}


def encode_buckets(
    scratch: Path,
    max_unknown_fraction: float,
    singulars: dict[str, str],
    buckets: Sequence[tuple[Path, int]],
    side: Literal["head", "rest"],
) -> Iterator[ShardItem]:
    """A shard job: the records of the head (validation) or the rest (train) of some buckets.

    Args:
        scratch: the folder with the vocabulary and the concept dictionary of the build.
        max_unknown_fraction: sentences with more unknown words are dropped.
        singulars: plural -> singular, replaced in the sentence.
        buckets: the bucket files, each with the number of sentences in its head.
        side: which sentences to take.
    """
    vocabulary = Vocabulary.load(scratch / VOCABULARY)
    dictionary = load_dictionary(scratch / CONCEPTS)
    for path, head in buckets:
        begin, end = (0, head) if side == "head" else (head, None)
        for tokens, text in itertools.islice(read_bucket(path), begin, end):
            ids = vocabulary.encode_sentence(fold(tokens, singulars))
            if ids.count(vocabulary.unk_id) > max_unknown_fraction * len(tokens):
                yield Dropped("too_many_unknown")
                continue
            yield encode_sentence(ids, count_concepts(tokens, dictionary), text, vocabulary)


def encode_sentence(
    ids: Sequence[int], concepts: dict[str, int], text: str, vocabulary: Vocabulary
) -> bytes:
    """The serialised `tf.train.Example` of one sentence; for the features see the module."""
    return example_from_features(
        {
            "sentence": int64_feature(ids),
            "concepts": int64_feature(vocabulary.encode(concepts)),
            "concept_counts": int64_feature(concepts.values()),
            "text": bytes_feature([text]),
        }
    )


def count_concepts(tokens: Sequence[str], dictionary: ConceptDictionary) -> dict[str, int]:
    """How many objects of each concept a sentence speaks of, in order of first mention.

    A singular is 1, a plural 2; a number right before ("three dogs") is that number, at most 9
    (digits count before plurals only: "bus 4 stop"); "a group of dogs" (or crowd, bunch, lot, herd,
    flock) is 3. Several mentions of one concept are taken for the same objects: the largest counts.

    Args:
        tokens: the T words, plurals not folded.
        dictionary: finds the mentions.

    Returns:
        concept -> 1..9.
    """
    found: dict[str, int] = {}
    for mention in dictionary.find(tokens):
        count = _count_of(mention, tokens)
        found[mention.concept] = max(found.get(mention.concept, 0), count)
    return found


def _count_of(mention: Mention, tokens: Sequence[str]) -> int:
    before = tokens[mention.position - 1] if mention.position else ""
    if before in _NUMBERS:
        return _NUMBERS[before]
    if not mention.plural:
        return 1
    if before in _DIGITS:
        return _DIGITS[before]
    if before == "of" and mention.position > 1 and tokens[mention.position - 2] in _GROUPS:
        return 3
    return 2


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
