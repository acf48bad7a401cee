from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from concept_records import DICTIONARY, IMAGES, toy_vocabulary, write_toy_records
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.language.concept_sets import (
    ConceptSets,
    count_concepts,
    count_pairs,
    covered_sets,
    read_concept_sets,
)

BOAT, CAR, DOG, PERSON = range(4)
_SIZE = 6
_SETS = st.lists(st.frozensets(st.integers(0, _SIZE - 1), max_size=5), max_size=25)


def counted(sets: list[frozenset[int]]) -> ConceptSets:
    return Counter(tuple(sorted(members)) for members in sets)


def test_records_become_counts_of_sets_whatever_their_order(tmp_path: Path) -> None:
    assert DICTIONARY.words == ("boat", "car", "dog", "person")
    records = write_toy_records(tmp_path / "images", "images", IMAGES)
    assert read_concept_sets(records, ["train", "val"], DICTIONARY) == {
        (DOG, PERSON): 2, (CAR, PERSON): 1, (CAR,): 1, (): 1, (BOAT, DOG, PERSON): 1,
    }  # fmt: skip
    assert read_concept_sets(records, ["val"], DICTIONARY).total() == 2
    first = read_concept_sets(records, ["train", "val"], DICTIONARY, most=1)
    assert first == {(DOG, PERSON): 1, (): 1}


def test_a_concept_of_another_dictionary_is_an_error(tmp_path: Path) -> None:
    words = toy_vocabulary("lamp")
    records = write_toy_records(tmp_path / "images", "images", {"x": ["lamp"]}, vocabulary=words)
    with pytest.raises(InputError, match=rf"has the concept {words.id_of('lamp')}, .*--overwrite"):
        read_concept_sets(records, ["x"], DICTIONARY)
    with pytest.raises(InputError, match="has no split 'test'; it has x"):
        read_concept_sets(records, ["test"], DICTIONARY)


def test_a_damaged_shard_is_an_error(tmp_path: Path) -> None:
    records = write_toy_records(tmp_path / "images", "images", IMAGES)
    shard = Path(records.shards("train")[0])
    data = bytearray(shard.read_bytes())
    data[20] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputError, match="broken record at byte 0"):
        read_concept_sets(records, ["train"], DICTIONARY)


@settings(deadline=None)
@given(_SETS)
def test_counts_equal_those_of_a_loop(sets: list[frozenset[int]]) -> None:
    singles, pairs = count_concepts(counted(sets), _SIZE), count_pairs(counted(sets), _SIZE)
    assert singles.shape == (_SIZE,) and pairs.shape == (_SIZE, _SIZE)
    for a in range(_SIZE):
        assert singles[a] == sum(a in members for members in sets)
        for b in range(_SIZE):
            together = sum({a, b} <= members for members in sets)
            assert pairs[a, b] == (together if a < b else 0)


@settings(deadline=None)
@given(_SETS, _SETS)
def test_covered_sets_equal_those_of_a_search(
    wanted: list[frozenset[int]], sentences: list[frozenset[int]]
) -> None:
    sets = {members for members in wanted if members}
    found = covered_sets(
        counted(list(sets)),
        counted(sentences),
        count_concepts(counted(sentences), _SIZE),
        count_pairs(counted(sentences), _SIZE),
    )
    assert {frozenset(members) for members in found} == {
        members for members in sets if any(members <= sentence for sentence in sentences)
    }


def test_pairs_that_occur_do_not_imply_a_set_that_occurs() -> None:
    sentences: ConceptSets = Counter(itertools.combinations(range(4), 2))
    sentences[0, 1, 2, 4] = 1
    counts, pairs = count_concepts(sentences, 5), count_pairs(sentences, 5)
    wanted = [(0, 1, 2), (1, 2, 3), (0, 1, 2, 4)]
    assert covered_sets(wanted, sentences, counts, pairs) == {(0, 1, 2), (0, 1, 2, 4)}
    assert covered_sets([], sentences, counts, pairs) == set()
    nothing = np.zeros(5, np.int64), np.zeros((5, 5), np.int64)
    assert covered_sets(wanted, Counter(), *nothing) == set()
