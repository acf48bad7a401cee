"""Unlikely pairs of concepts: left out of records, and of other images that a run captions."""

from __future__ import annotations

import itertools
import json

import pytest

from pipelines import images
from r2m.inference.concept_rules import ConceptChooser, ConceptRules
from r2m.inference.r2m_model import RULES_FILE
from r2m.tasks.unsupervised_captioning import experiment
from tfrecords.core.errors import InputError
from tfrecords.core.records import open_records
from tfrecords.language.unlikely_pairs import from_saved
from tfrecords.pictures.named_images import named_files

LEAST = 2


@pytest.fixture(scope="module")
def likely(build, tmp_path_factory):
    """Image records without unlikely pairs, and without the limit of concepts."""
    return build(
        tmp_path_factory.mktemp("likely") / "records", min_pair_sentences=LEAST, max_concepts=9,
    )  # fmt: skip


def words_of(folder, split="val"):
    records = open_records(folder)
    words = records.vocabulary().words
    return {
        row["image_id"]: [words[number] for number in row["concepts"]]
        for row in images.examples(records, split)
    }


def test_records_have_no_unlikely_pair_and_count_what_is_left_out(build, likely, tmp_path):
    plain = build(tmp_path / "plain", max_concepts=9)
    options = open_records(likely).manifest["options"]
    assert options["min_pair_sentences"] == LEAST
    pairs = from_saved(options["unlikely_pairs"])
    left_out = 0
    for split in ("train", "val"):
        every, kept = words_of(plain, split), words_of(likely, split)
        assert every.keys() == kept.keys()
        for name, words in every.items():
            own = kept[name]
            assert own == [word for word in words if word in own] and own[-1] == words[-1]
            assert not any(b in pairs.get(a, ()) for a, b in itertools.permutations(own, 2))
            left_out += len(words) - len(own)
    counts = [open_records(f).manifest["skipped"]["counts"] for f in (plain, likely)]
    assert counts[1]["unlikely_pair"] == left_out > 0
    assert "unlikely_pair" not in counts[0]
    assert {"min_pair_sentences", "unlikely_pairs"}.isdisjoint(
        open_records(plain).manifest["options"]
    )


def test_a_run_leaves_the_same_concepts_out_of_other_images(config, likely, raw, tmp_path):
    config.data.images, config.data.max_concepts = str(likely), 9
    experiment.run_stage("xe", config, tmp_path)
    saved = json.loads((tmp_path / "xe" / RULES_FILE).read_text())
    assert saved["unlikely_pairs"] == open_records(likely).manifest["options"]["unlikely_pairs"]
    rules = ConceptRules.read(tmp_path / "xe")
    sources = rules.sources([str(raw / name) for name in ("detections.json", "tags.json")])
    named = named_files([raw / "images"]).files
    choose = ConceptChooser(rules, named, sources, max_concepts=9)
    expected = words_of(likely)
    assert {name: [c.word for c in choose(name)] for name in expected} == expected
    without = ConceptChooser(rules._replace(unlikely={}), named, sources, max_concepts=9)
    assert any(len(without(name)) > len(words) for name, words in expected.items())
    # What a person names is captioned as it is.
    (word, others), *_ = rules.unlikely.items()
    vocabulary = open_records(likely).vocabulary()
    pair = [word, min(others)]
    assert [c.word for c in rules.named_concepts(pair, vocabulary)] == pair[::-1]


def test_other_pairs_are_another_build(build, likely, raw):
    again = build(likely, min_pair_sentences=LEAST, max_concepts=9)
    assert again == likely
    with pytest.raises(InputError, match="--overwrite"):
        build(likely, min_pair_sentences=LEAST + 1, max_concepts=9)


def test_negative_numbers_are_refused(build, tmp_path):
    with pytest.raises(InputError, match="min_pair_sentences must be at least 0, found -1"):
        build(tmp_path / "records", min_pair_sentences=-1)
