"""Sets of concepts of images and of sentences, and their counts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import reduce

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.records import CONCEPTS, Records, read_split
from tfrecords.language.concepts import ConceptDictionary

ConceptSets = Counter[tuple[int, ...]]
"""Sets of concepts (ascending indices into the words of a dictionary) -> number of records."""


def read_concept_sets(
    records: Records,
    splits: Sequence[str],
    dictionary: ConceptDictionary,
    most: int | None = None,
) -> ConceptSets:
    """Counts the distinct sets of concepts of records, in one pass over each split.

    Memory grows with the number of distinct sets, not with that of the records.

    Args:
        records: `images` or `corpora` records.
        splits: names of the splits to read.
        dictionary: the dictionary of the records.
        most: maximum number of records to read per split; None reads all.

    Raises:
        InputError: there is no such split, a shard is damaged, or a record has a concept that the
            dictionary lacks.
    """
    vocabulary = records.vocabulary()
    indices = {vocabulary.id_of(word): index for index, word in enumerate(dictionary.words)}
    # Counted as bytes: decoding a sequence once is cheaper than once per record.
    sequences: Counter[bytes] = Counter()
    for split in splits:
        for example in itertools.islice(read_split(records, split, {"concepts"}), most):
            sequences[np.asarray(example["concepts"], np.int64).tobytes()] += 1
    sets: ConceptSets = Counter()
    for sequence, count in sequences.items():
        numbers = set(np.frombuffer(sequence, np.int64).tolist())
        if unknown := numbers - indices.keys():
            raise InputError(
                f"{records.folder}: a record has the concept {min(unknown)}, which is not the id "
                f"of a concept in {CONCEPTS}; build the records again with --overwrite"
            )
        sets[tuple(sorted(indices[number] for number in numbers))] += count
    return sets


def count_concepts(sets: ConceptSets, size: int) -> np.ndarray:
    """Returns the number of records per concept: int64 [V].

    Args:
        sets: sets of concepts with their numbers of records.
        size: number of concepts, V.
    """
    total = np.zeros(size, np.int64)
    for members, counts in _rows_by_size(sets):
        np.add.at(total, members, counts[:, None])
    return total


def count_pairs(sets: ConceptSets, size: int) -> np.ndarray:
    """Returns the number of records per pair of concepts a < b: int64 [V, V], 0 elsewhere.

    Args:
        sets: sets of concepts with their numbers of records.
        size: number of concepts, V.
    """
    total = np.zeros((size, size), np.int64)
    for members, counts in _rows_by_size(sets):
        for first, second in itertools.combinations(members.T, 2):
            np.add.at(total, (first, second), counts)
    return total


def covered_sets(
    wanted: Collection[tuple[int, ...]],
    sentences: ConceptSets,
    sentence_counts: np.ndarray,
    sentence_pairs: np.ndarray,
) -> set[tuple[int, ...]]:
    """Returns the sets whose concepts all occur in one sentence, perhaps with other concepts.

    Args:
        wanted: sets of concepts, none of them empty.
        sentences: sets of concepts of sentences.
        sentence_counts: result of `count_concepts`: [V].
        sentence_pairs: result of `count_pairs`: [V, V].
    """
    possible = [
        members
        for members in wanted
        if all(sentence_counts[index] for index in members)
        and all(sentence_pairs[pair] for pair in itertools.combinations(members, 2))
    ]
    # Only larger sets, all pairs of which occur, require a search.
    found = {members for members in possible if len(members) < 3}
    large = [members for members in possible if len(members) > 2]
    places = _places(sentences, set(itertools.chain(*large)), len(sentence_counts))
    for members in large:
        rarest_first = sorted((places[index] for index in members), key=len)
        if len(reduce(_intersect, rarest_first)):
            found.add(members)
    return found


def _rows_by_size(sets: ConceptSets) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the sets of each size: members int32 [N, K] and counts int64 [N]."""
    for size, members in itertools.groupby(sorted(sets, key=len), key=len):
        rows = list(members)
        counts = np.fromiter((sets[row] for row in rows), np.int64, len(rows))
        yield np.array(rows, np.int32).reshape(len(rows), size), counts


def _places(sets: ConceptSets, wanted: Collection[int], size: int) -> dict[int, np.ndarray]:
    """Returns concept -> the numbers of the sets with it, ascending: int32 [N]."""
    members, owners, start = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)], 0
    is_wanted = np.zeros(size, bool)
    is_wanted[list(wanted)] = True
    for rows, counts in _rows_by_size(sets):
        numbers = np.arange(start, start + len(counts), dtype=np.int32)
        kept = is_wanted[rows]
        members.append(rows[kept])
        owners.append(np.broadcast_to(numbers[:, None], rows.shape)[kept])
        start += len(counts)
    flat = np.concatenate(members)
    order = np.argsort(flat, kind="stable")
    ends = np.cumsum(np.bincount(flat, minlength=size))
    parts = np.split(np.concatenate(owners)[order], ends[:-1])
    return {index: parts[index] for index in wanted}


def _intersect(few: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Returns the numbers of `few` that are in `many`; both ascending."""
    if not len(many):
        return many
    places = np.searchsorted(many, few)
    return few[many[np.minimum(places, len(many) - 1)] == few]
