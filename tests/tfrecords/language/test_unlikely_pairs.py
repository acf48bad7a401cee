"""Pairs of concepts that sentences hardly ever have: by hand, and properties."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import pytest
from concept_records import DICTIONARY, SENTENCES, write_toy_records
from hypothesis import given
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.language.concept_sets import ConceptSets
from tfrecords.language.unlikely_pairs import (
    find_unlikely_pairs,
    from_saved,
    keep_likely,
    read_unlikely_pairs,
    recorded_pairs,
    to_saved,
)

WORDS = ("bear", "bicycle", "dog", "giraffe", "snow")
BEAR, BICYCLE, DOG, GIRAFFE, SNOW = range(5)
# 100 sentences: 40 with a dog, 40 with snow, 10 with both; 20 with a giraffe, 5 with a bicycle.
SETS: ConceptSets = Counter(
    {(DOG,): 30, (SNOW,): 30, (DOG, SNOW): 10, (GIRAFFE,): 20, (BICYCLE,): 5, (): 5}
)
names = st.sampled_from(WORDS)


def pairs_of(sets: ConceptSets, least: int) -> set[tuple[str, str]]:
    found = find_unlikely_pairs(sets, WORDS, least)
    return {(word, other) for word, others in found.items() for other in others}


def both_ways(*pairs: tuple[str, str]) -> set[tuple[str, str]]:
    return {pair for a, b in pairs for pair in ((a, b), (b, a))}


def test_pairs_by_hand() -> None:
    """Expected: dog and snow 16 (10 found), with a giraffe 8 each, a bicycle with those 2, 2, 1."""
    assert pairs_of(SETS, 1) == both_ways(
        ("dog", "giraffe"), ("giraffe", "snow"), ("bicycle", "dog"), ("bicycle", "snow"),
        ("bicycle", "giraffe"),
    )  # fmt: skip
    assert pairs_of(SETS, 2) == pairs_of(SETS, 1) - both_ways(("bicycle", "giraffe"))
    assert pairs_of(SETS, 3) == both_ways(("dog", "giraffe"), ("giraffe", "snow"))
    assert pairs_of(SETS, 9) == set()
    assert pairs_of(SETS, 10) == set()  # as many as required
    assert pairs_of(SETS, 11) == both_ways(("dog", "snow"))
    assert pairs_of(SETS, 16) == both_ways(("dog", "snow"))
    assert pairs_of(SETS, 17) == set()
    assert pairs_of(Counter(), 1) == set()


def test_saved_pairs_are_listed_once_and_read_again() -> None:
    found = find_unlikely_pairs(SETS, WORDS, 2)
    saved = to_saved(found)
    assert saved == {"bicycle": "dog snow", "dog": "giraffe", "giraffe": "snow"}
    assert from_saved(json.loads(json.dumps(saved))) == found
    assert from_saved({}) == {}
    assert recorded_pairs(found, 2) == {"min_pair_sentences": 2, "unlikely_pairs": saved}
    assert recorded_pairs({}, 3) == {"min_pair_sentences": 3, "unlikely_pairs": {}}
    assert recorded_pairs({}, 0) == {}


def test_the_less_certain_one_of_a_pair_is_left_out() -> None:
    pairs = from_saved({"dog": "giraffe", "giraffe": "snow"})
    assert keep_likely(["giraffe", "dog"], pairs) == ["dog"]
    assert keep_likely(["dog", "giraffe"], pairs) == ["giraffe"]
    # The giraffe is left out because of the dog, so it does not exclude snow.
    assert keep_likely(["snow", "giraffe", "dog"], pairs) == ["snow", "dog"]
    assert keep_likely(["snow", "dog", "giraffe"], pairs) == ["giraffe"]
    assert keep_likely(["dog", "bear", "snow"], pairs) == ["dog", "bear", "snow"]
    assert keep_likely([], pairs) == []


@given(
    st.lists(names, unique=True),
    st.sets(st.tuples(names, names).filter(lambda pair: pair[0] < pair[1])),
)
def test_what_is_kept_has_no_unlikely_pair_and_what_is_not_has_a_reason(concepts, pairs) -> None:
    saved = {a: " ".join(b for first, b in sorted(pairs) if first == a) for a, _ in sorted(pairs)}
    found = from_saved(saved)
    kept = keep_likely(concepts, found)
    assert kept == [word for word in concepts if word in kept]
    assert kept[-1:] == concepts[-1:]
    assert not any(b in found.get(a, ()) for a, b in itertools.permutations(kept, 2))
    for place, word in enumerate(concepts):
        if word not in kept:
            assert any(other in found[word] for other in concepts[place + 1 :] if other in kept)


@given(
    st.dictionaries(
        st.sets(st.integers(0, 4)).map(lambda members: tuple(sorted(members))),
        st.integers(1, 20),
    ),
    st.integers(1, 8),
)
def test_pairs_as_counted_one_by_one(sets, least) -> None:
    total = sum(sets.values())
    expected = set()
    for a, b in itertools.combinations(range(5), 2):
        one, other, both = (
            sum(count for members, count in sets.items() if wanted <= set(members))
            for wanted in ({a}, {b}, {a, b})
        )
        if both < least and total and one * other >= least * total:
            expected |= both_ways((WORDS[a], WORDS[b]))
    found = pairs_of(Counter(sets), least)
    # Products may round to either side of the limit.
    assert all(is_close(sets, total, least, *pair) for pair in found.symmetric_difference(expected))


def is_close(sets, total, least, *words) -> bool:
    one, other = (
        sum(count for members, count in sets.items() if WORDS.index(word) in members)
        for word in words
    )
    return one * other == pytest.approx(least * total)


def test_pairs_of_all_splits_of_records_are_counted(tmp_path) -> None:
    records = write_toy_records(tmp_path / "corpora", "corpora", SENTENCES)
    # Of 7 sentences, 4 have a person, 3 a dog, 2 both: 12 / 7 = 1.7 would be expected.
    assert read_unlikely_pairs(records, DICTIONARY, 1) == {}
    assert read_unlikely_pairs(records, DICTIONARY, 0) == {}
    apart = {"train": ["person", "person", "dog"], "val": ["dog", "dog person car", "dog person"]}
    records = write_toy_records(tmp_path / "apart", "corpora", apart)
    assert read_unlikely_pairs(records, DICTIONARY, 3) == {}  # 4 * 4 / 6 are fewer than 3
    assert to_saved(read_unlikely_pairs(records, DICTIONARY, 2)) == {}
    more = {"train": ["person"] * 5 + ["dog"] * 5 + ["dog person"]}
    records = write_toy_records(tmp_path / "more", "corpora", more)
    assert to_saved(read_unlikely_pairs(records, DICTIONARY, 2)) == {"dog": "person"}


def test_sentences_with_unknown_concepts_are_refused(tmp_path) -> None:
    records = write_toy_records(tmp_path / "corpora", "corpora", {"train": ["a dog"]})
    with pytest.raises(InputError, match="build the records again"):
        read_unlikely_pairs(records, DICTIONARY, 1)
