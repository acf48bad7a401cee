"""Thresholds of detections: the same at captioning as in training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r2m.inference.concept_rules import ConceptRules
from r2m.inference.r2m_model import CONCEPTS_FILE, RULES_FILE
from tfrecords.core.errors import InputError
from tfrecords.language.concepts import ConceptDictionary


def rules_of(folder: Path) -> ConceptRules:
    """Reads the rules of a run whose corpus has no concepts."""
    dictionary = json.loads(ConceptDictionary((), {}).to_json())
    (folder / CONCEPTS_FILE).write_text(json.dumps({**dictionary, "counts": {}}))
    return ConceptRules.read(folder)


@pytest.fixture
def run(tmp_path: Path) -> ConceptRules:
    rules = [
        {"file": "coco.json", "min_score": 0.4, "weight": 1.0},
        {"file": "tags.json", "min_score": 0.08, "weight": 0.7},
    ]
    (tmp_path / RULES_FILE).write_text(json.dumps({"detections": rules}))
    return rules_of(tmp_path)


def numbers(run: ConceptRules, *texts: str) -> list[tuple[float, float]]:
    return [(s.min_score, s.weight) for s in run.sources(texts)]


def test_by_file_name_in_any_order(run: ConceptRules) -> None:
    assert numbers(run, "new/tags.json", "new/coco.json") == [(0.08, 0.7), (0.4, 1.0)]
    assert numbers(run, "tags.json") == [(0.08, 0.7)]


def test_by_order_where_names_differ(run: ConceptRules) -> None:
    assert numbers(run, "a.json", "b.json") == [(0.4, 1.0), (0.08, 0.7)]


def test_given_numbers_count(run: ConceptRules) -> None:
    assert numbers(run, "tags.json,0.2", "coco.json,0.5,2") == [(0.2, 0.7), (0.5, 2.0)]
    with pytest.raises(InputError, match="expected FILE"):
        numbers(run, "tags.json,x")


def test_unlikely_pairs_are_those_of_the_training(run: ConceptRules, tmp_path: Path) -> None:
    assert run.unlikely == {}
    (tmp_path / RULES_FILE).write_text(json.dumps({"unlikely_pairs": {"bear": "dog snow"}}))
    own, bear = frozenset({"bear"}), frozenset({"dog", "snow"})
    assert rules_of(tmp_path).unlikely == {"bear": bear, "dog": own, "snow": own}


def test_others_have_the_defaults(run: ConceptRules, tmp_path: Path) -> None:
    assert numbers(run, "a.json") == [(0.3, 1.0)]
    (tmp_path / "text_only").mkdir()
    assert numbers(rules_of(tmp_path / "text_only"), "coco.json") == [(0.3, 1.0)]
