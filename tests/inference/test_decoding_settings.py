"""Decoding settings, from Python and flags to captions."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ml_collections import ConfigDict

import r2m
from configs import common
from r2m.configuration.decoding_settings import (
    BAD_ENDINGS,
    check_in_use,
    decoding_changes,
    default_decoding,
    settings_to_report,
)
from r2m.inference.captioning import search_options
from r2m.inference.constraint_words import phrase_ids
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import Vocabulary

RUNS = Path(__file__).parents[1] / "data" / "runs"
WORDS = ("<pad>", "<S>", "</S>", *["a", "dog", "dogs", "on", "red", "car", "the", "grass"], "<unk>")
VOCABULARY = Vocabulary(WORDS, (0,) * len(WORDS))


def options(**changes: Any) -> Any:
    config = SimpleNamespace(decoding=ConfigDict(common.decoding()))
    config.decoding.update(decoding_changes(changes))
    return search_options(config, VOCABULARY)


@pytest.mark.parametrize(
    ("given", "kind", "alpha"),
    [
        ("wu_0.9", "wu", 0.9), ("wu_.5", "wu", 0.5), ("avg", "power", 1.0), ("avg_0", "power", 1.0),
        ("power_0.7", "power", 0.7), ("power", "power", 0.0),
    ],
)  # fmt: skip
def test_spellings_of_length_penalties(given: str, kind: str, alpha: float) -> None:
    found = options(length_penalty=given)
    assert (found.length_penalty, found.length_normalization) == (kind, alpha)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top_k": 3}, "top_k=3 is not read by method=beam"),
        ({"sampling_seed": 3}, "sampling_seed=3 is not read by method=beam"),
        ({"diversity": 0.7}, "diversity=0.7 is not read with beam_groups=1"),
        ({"method": "gumbel", "beam_groups": 3}, "beam_groups=3 is not read by method=gumbel"),
    ],
)
def test_settings_that_decoding_does_not_read(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        check_in_use(given, {**default_decoding(), **given})


@pytest.mark.parametrize(
    "given",
    [
        {"method": "sample", "top_k": 3, "temperature": 2.0},
        {"beam_groups": 3, "diversity": 0.7},
        {"method": "sample", "beam_groups": 1},
        {"temperature": 1.0},
    ],
)
def test_settings_that_decoding_reads_and_defaults(given: dict[str, Any]) -> None:
    check_in_use(given, {**default_decoding(), **given})


def test_constraints_become_ids_of_the_vocabulary() -> None:
    found = options(
        must_contain=["Dog", "red car"], must_not_contain="grass, on the", block_bad_endings=True
    )
    assert found.required == ((4,), (7, 8)) and found.excluded == ((10,), (6, 9))
    assert found.never_generated == (0, 1, 11, 10)
    # The words of the list that are in the vocabulary.
    assert set(found.bad_endings) == {3, 6, 9} < {VOCABULARY.id_of(word) for word in BAD_ENDINGS}
    assert options(must_contain="", allow_unknown=True).never_generated == (0, 1)
    assert phrase_ids("must_contain", "a dog, A DOG", VOCABULARY) == ((3, 4),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"must_contain": "dogg"}, "must_contain: 'dogg' is not among the 12 words of the "
         "vocabulary, which are all that the model can generate; did you mean dog or dogs?"),
        ({"must_not_contain": "zebra"}, "must_not_contain: 'zebra' is not among the 12 words"),
        ({"must_contain": "dog,,car"}, "must_contain='dog,,car': expected words, found ''"),
        ({"must_contain": ["red car"], "must_not_contain": "car"},
         "must_contain='red car' contains 'car', which must_not_contain excludes"),
        ({"must_contain": "dog dog", "block_repeats": True},
         "must_contain='dog dog' repeats a word, which block_repeats excludes"),
        ({"must_contain": [3]}, "must_contain=[3]: must be words and phrases"),
        ({"must_contain": "dog", "method": "sample"}, "required words (must_contain) require"),
        ({"must_contain": "red car", "max_length": 2}, "2 required words and the end marker"),
        ({"length_penalty": "wo"}, "length_penalty=wo: must be power, wu or avg"),
        ({"length_penalty": "wu"}, "length_penalty='wu' needs length_normalization above 0"),
        ({"length_penalty": "wu_99"}, "length_normalization=99.0: must be at least 0 and at most"),
        ({"length_penalty": "avg", "length_normalization": 0.5}, "alpha=1: give no length"),
        ({"beam_size": 9}, "beam_size=9 (--config.decoding.beam_size, or --beam_size): must be"),
        ({"beam_size": 0}, "beam_size=0: must be at least 1"),
        ({"beam_groups": 2}, "beam_groups=2 must divide beam_size=3"),
        ({"method": "beem"}, "method=beem: must be one of beam, sample, gumbel; did you"),
        ({"temperature": 0}, "temperature=0: must be above 0 and at most 1000"),
        ({"top_p": 1.5}, "top_p=1.5: must be above 0 and at most 1"),
        ({"min_length": 20}, "min_length=20 must be below max_length=20"),
        ({"beam": 3}, "decoding has no setting beam; known: method, beam_size"),
    ],
)  # fmt: skip
def test_impossible_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        options(**changes)


def test_reports_have_the_settings_that_have_an_effect() -> None:
    main = {"beam_size": 3, "max_length": 20, "length_normalization": 0.0, "allow_unknown": False}
    assert settings_to_report(default_decoding()) == main
    changed = {**default_decoding(), "top_k": 5, "neighbors": 3}
    assert settings_to_report(changed) == {**main, "top_k": 5, "neighbors": 3}


@pytest.fixture(scope="module")
def old_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(RUNS / "r2m.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder / "runs" / "r2m"


def test_words_of_a_call(old_run: Path) -> None:
    captioner = r2m.load(old_run, beam_size=2, length_penalty="wu_0.9")
    concepts = [["bird"], ["car", "tree"]]
    plain, _ = captioner.caption_concepts(concepts)
    word = plain.text.split()[0]
    others = list(captioner.caption_concepts(concepts, must_contain="red car"))
    assert all("red car" in found.text for found in others)
    assert all("red car" in other.text for found in others for other in found.alternatives)
    without = captioner.caption_concepts(concepts, must_not_contain=[word])
    assert all(word not in found.text.split() for found in without)
    assert next(captioner.caption_concepts(concepts)) == plain
    with pytest.raises(InputError, match=r"must_contain: 'cloudd' is not among .* mean cloud"):
        captioner.caption_concepts(concepts, must_contain=["cloudd"])


def test_ensembles_have_a_weight_per_run(old_run: Path) -> None:
    with pytest.raises(InputError, match="2 ensemble_weights for 1 runs: give one weight per run"):
        r2m.load(old_run, ensemble_weights=[1.0, 2.0])


def test_draws_do_not_depend_on_the_batch(old_run: Path) -> None:
    captioner = r2m.load(old_run, method="sample", temperature=2.0, sampling_seed=3)
    concepts = [["bird"], ["car"], ["tree"]]
    together = list(captioner.caption_concepts(concepts, alternatives=4))
    assert [len(found.alternatives) for found in together] == [4] * 3
    alone = captioner.caption_concepts(concepts, alternatives=4, batch_size=1)
    for found, by_itself in zip(together, alone, strict=True):
        assert [found.text, *(other.text for other in found.alternatives)] == [
            by_itself.text, *(other.text for other in by_itself.alternatives)
        ]  # fmt: skip
    assert [found.alternatives for found in captioner.caption_concepts(concepts)] == [()] * 3
