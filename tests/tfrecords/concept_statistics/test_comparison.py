from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import pytest
from concept_records import DICTIONARY, IMAGES, SENTENCES, toy_vocabulary, write_toy_records
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.concept_statistics.comparison import (
    Overlap,
    PairUse,
    concept_statistics,
    read_dictionary,
    unused_classes,
)
from tfrecords.core.errors import InputError
from tfrecords.language.concept_sets import ConceptSets, read_concept_sets
from tfrecords.language.concepts import ConceptDictionary, build_concept_dictionary
from tfrecords.language.label_maps import LabelMap

_WORDS = tuple("abcdef")
_SETS = st.lists(st.frozensets(st.integers(0, 5), max_size=5), max_size=20)


def test_statistics_of_six_images_and_six_sentences(tmp_path: Path) -> None:
    images = write_toy_records(tmp_path / "images", "images", IMAGES)
    corpora = write_toy_records(tmp_path / "corpora", "corpora", SENTENCES)
    dictionary = read_dictionary(images, corpora)
    assert dictionary == DICTIONARY
    seen = read_concept_sets(images, images.splits, dictionary)
    found = concept_statistics(
        seen, read_concept_sets(corpora, ["train"], dictionary), dictionary, min_pair_images=1
    )
    assert (found.images, found.sentences) == (6, 6)
    assert found.images_by_size == (1, 1, 3, 1) and found.sentences_by_size == (1, 3, 1, 1)
    boat, car, dog, person = found.concepts
    assert [(use.word, use.images, use.sentences) for use in found.concepts] == [
        ("boat", 1, 0), ("car", 2, 1), ("dog", 3, 3), ("person", 4, 4),
    ]  # fmt: skip
    assert (boat.ratio, car.ratio, dog.ratio, person.ratio) == (None, 2, 1, 1)
    assert (car.image_share, car.sentence_share) == (2 / 6, 1 / 6)
    assert boat.mismatch == pytest.approx((1.5 - 0.5) / 7 * math.log(1.5 / 0.5))
    assert car.mismatch == pytest.approx((2.5 - 1.5) / 7 * math.log(2.5 / 1.5))
    assert dog.mismatch == person.mismatch == 0
    assert found.singles == Overlap(distinct=4, distinct_shared=3, total=10, total_shared=9)
    assert found.pairs == Overlap(distinct=4, distinct_shared=2, total=6, total_shared=4)
    assert found.exact_sets == Overlap(distinct=4, distinct_shared=1, total=5, total_shared=2)
    assert found.covered_sets == Overlap(distinct=4, distinct_shared=3, total=5, total_shared=4)
    assert found.missing_pairs == (
        PairUse(words=("boat", "dog"), images=1),
        PairUse(words=("boat", "person"), images=1),
    )
    twice = concept_statistics(seen, Counter(), dictionary, min_pair_images=2)
    assert twice.missing_pairs == (PairUse(words=("dog", "person"), images=2 + 1),)


@settings(deadline=None)
@given(_SETS, _SETS, st.integers(0, 4))
def test_statistics_equal_those_of_loops(
    images: list[frozenset[int]], sentences: list[frozenset[int]], least: int
) -> None:
    dictionary = ConceptDictionary(words=_WORDS, forms={word: (word,) for word in _WORDS})
    seen, said = (Counter(tuple(sorted(s)) for s in sets) for sets in (images, sentences))
    found = concept_statistics(seen, said, dictionary, min_pair_images=least)
    for use in found.concepts:
        index = _WORDS.index(use.word)
        counts = [sum(index in members for members in sets) for sets in (images, sentences)]
        assert [use.images, use.sentences] == counts
        assert use.image_share * len(images) == pytest.approx(counts[0])
        assert (use.ratio is None) == (counts[1] == 0)
        assert use.mismatch >= 0
    assert [use.mismatch for use in found.concepts] == sorted(
        (use.mismatch for use in found.concepts), reverse=True
    )
    assert [sum(len(s) == k for s in images) for k in range(len(found.images_by_size))] == list(
        found.images_by_size
    )
    assert sum(found.sentences_by_size) == len(sentences)

    pairs = Counter(
        pair for members in images for pair in itertools.combinations(sorted(members), 2)
    )
    met = {pair for pair in pairs if any(set(pair) <= sentence for sentence in sentences)}
    assert found.pairs == overlap(pairs, met)
    assert {(pair.words, pair.images) for pair in found.missing_pairs} == {
        ((_WORDS[a], _WORDS[b]), count)
        for (a, b), count in pairs.items()
        if (a, b) not in met and count >= least
    }
    sets = Counter(members for members in images if members)
    assert found.exact_sets == overlap(sets, {s for s in sets if s in sentences})
    covered = {s for s in sets if any(s <= sentence for sentence in sentences)}
    assert found.covered_sets == overlap(sets, covered)


def overlap(things: Counter, met: set) -> Overlap:
    return Overlap(
        distinct=len(things),
        distinct_shared=len(met),
        total=things.total(),
        total_shared=sum(things[thing] for thing in met),
    )


def test_without_records_nothing_is_divided_by_zero() -> None:
    nothing: ConceptSets = Counter()
    found = concept_statistics(nothing, nothing, DICTIONARY)
    assert found.images_by_size == (0,) and found.missing_pairs == ()
    assert all(use.image_share == 0 and use.ratio is None for use in found.concepts)


def test_records_of_different_dictionaries_are_refused(tmp_path: Path) -> None:
    corpora = write_toy_records(tmp_path / "corpora", "corpora", SENTENCES)
    words = write_toy_records(
        tmp_path / "words", "images", IMAGES, vocabulary=toy_vocabulary("lamp")
    )
    with pytest.raises(InputError, match=r"words and .*corpora use different vocabularies"):
        read_dictionary(words, corpora)
    other = build_concept_dictionary(
        [LabelMap("other", {1: "person", 2: "dog", 3: "car", 4: "boat", 5: "big dog"})], []
    )
    assert other.words == DICTIONARY.words
    classes = write_toy_records(tmp_path / "classes", "images", IMAGES, dictionary=other)
    with pytest.raises(InputError, match=r"use different concept dictionaries .*--corpora=.*corp"):
        read_dictionary(classes, corpora)
    # Equal dictionaries of different texts have different counts of sentences.
    again = write_toy_records(tmp_path / "again", "images", IMAGES, counts={"dog": 1})
    with pytest.raises(InputError, match="use different concept dictionaries"):
        read_dictionary(again, corpora)


def test_a_damaged_dictionary_is_an_error(tmp_path: Path) -> None:
    images = write_toy_records(tmp_path / "images", "images", IMAGES)
    corpora = write_toy_records(tmp_path / "corpora", "corpora", SENTENCES)
    path = images.folder / "concepts.json"
    path.write_text(path.read_text().replace("{", "[", 1))
    with pytest.raises(InputError, match=r"concepts\.json is not JSON"):
        read_dictionary(images, corpora)
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"cannot read .*concepts\.json"):
        read_dictionary(images, corpora)
    path.unlink()
    with pytest.raises(InputError, match=r"cannot read .*concepts\.json"):
        read_dictionary(images, corpora)


@pytest.mark.parametrize(
    ("options", "least", "rare"),
    [
        ({"min_concept_count": 2}, 2, ("boat", "car")),
        ({"min_concept_count": 0}, 0, ()),
        ({}, 1, ()),
    ],
)
def test_classes_that_give_no_concept(
    tmp_path: Path, options: dict[str, int], least: int, rare: tuple[str, ...]
) -> None:
    images = write_toy_records(tmp_path / "images", "images", IMAGES, options=options)
    found = unused_classes(images, DICTIONARY)
    assert (found.classes, found.min_concept_count) == (5, least)
    assert found.without_concept == ("???",) and found.rare == rare


def test_records_without_counts_have_no_rare_classes(tmp_path: Path) -> None:
    images = write_toy_records(
        tmp_path / "images", "images", IMAGES, options={"min_concept_count": 2}
    )
    path = images.folder / "concepts.json"
    content = json.loads(path.read_text())
    del content["counts"]
    path.write_text(json.dumps(content))
    assert unused_classes(images, DICTIONARY).rare == ()
