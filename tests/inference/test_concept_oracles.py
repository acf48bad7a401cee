"""Concepts that references mention."""

from __future__ import annotations

from concept_records import DICTIONARY, toy_vocabulary

from r2m.inference.concept_oracles import mentioned_concepts


def mentioned(*texts: str, allowed: tuple[str, ...] = DICTIONARY.words) -> list[str]:
    return mentioned_concepts(texts, DICTIONARY, frozenset(allowed), toy_vocabulary())


def test_concepts_of_two_references_count_with_their_median() -> None:
    texts = ("A dog and two cars.", "Dogs near a car.", "a dog", "a boat", "three cars")
    assert mentioned(*texts) == ["dog", "car", "car"]
    assert mentioned(*texts, allowed=("car",)) == ["car", "car"]


def test_one_reference_is_enough_if_there_is_no_other() -> None:
    assert mentioned("two dogs and a person") == ["dog", "dog", "person"]
    assert mentioned("a dog", "a person") == mentioned() == []
