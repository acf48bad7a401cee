from __future__ import annotations

import json
import os
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import END_ID, Vocabulary, build_vocabulary
from tfrecords.formats.ngram_pickles import frequencies_of_pickle

# "a dog <eos>", "dog UNK <eos>": as ids and as words; a 3, dog 2 by our counts, 1 and 2 by theirs.
WORDS = {"a": 3, "dog": 7}
IX_TO_WORD = {"1": "dog", "2": "a", "3": "UNK"}
BY_ID = {
    ("2",): 3.0, ("1",): 5.0, ("3",): 1.0, ("0",): 6.0, ("2", "1"): 2.0, ("1", "3"): 1.0,
    ("3", "0"): 1.0, ("2", "1", "0"): 2.0, ("1", "3", "0"): 1.0,
}  # fmt: skip
NAMES = {**IX_TO_WORD, "0": "<eos>"}
BY_WORD = {tuple(NAMES[i] for i in ngram): n for ngram, n in BY_ID.items()}


@pytest.fixture
def vocabulary() -> Vocabulary:
    return build_vocabulary(WORDS, min_count=1)


@pytest.fixture
def cocotalk(tmp_path: Path) -> Path:
    path = tmp_path / "cocotalk.json"
    path.write_text(json.dumps({"images": [{"id": 1}], "ix_to_word": IX_TO_WORD}))
    return path


def save(path: Path, table: Any, ref_len: Any = 6, protocol: int = 2) -> Path:
    data = {"document_frequency": table, "ref_len": ref_len}
    path.write_bytes(pickle.dumps(data, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("by_id", [True, False])
def test_ngrams_are_translated(
    tmp_path: Path, vocabulary: Vocabulary, cocotalk: Path, by_id: bool, protocol: int
) -> None:
    table = defaultdict(float, BY_ID if by_id else BY_WORD)
    path = save(tmp_path / "x.p", table, ref_len=np.float64(6), protocol=protocol)
    found = frequencies_of_pickle(path, vocabulary, cocotalk if by_id else None)
    a, dog, unk = vocabulary.id_of("a"), vocabulary.id_of("dog"), vocabulary.unk_id
    assert found.images == 6 and found.vocabulary_sha256 == vocabulary.sha256
    assert found.lookup(np.array([[a], [dog], [unk], [END_ID]])).tolist() == [3, 5, 1, 6]
    assert found.lookup(np.array([[a, dog], [dog, a], [unk, END_ID]])).tolist() == [2, 0, 1]
    trigrams = [[a, dog, END_ID], [dog, unk, END_ID]]
    assert found.lookup(np.array(trigrams)).tolist() == [2, 1]


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /nowhere/x",)


@pytest.mark.parametrize(
    ("table", "ref_len", "message"),
    [
        (Evil(), 6, "cannot be loaded: it requires posix.system"),
        ({}, 6, r"expected \{"),
        ([1], 6, r"expected \{"),
        (BY_ID, 0, r"expected \{"),
        (BY_ID, float("nan"), r"expected \{"),
        (BY_ID, "6", r"expected \{"),
        (BY_ID, 5, r"a number of 1 to 5 images, found \('0',\): 6.0"),
        ({("2",): 1.5}, 6, r"found \('2',\): 1.5"),
        ({("2",): float("inf")}, 6, r"found \('2',\): inf"),
        ({("2",): 0}, 6, r"found \('2',\): 0"),
        ({"2": 1}, 6, "found '2': 1"),
        ({(2,): 1}, 6, r"found \(2,\): 1"),
        ({(): 1}, 6, r"found \(\): 1"),
        ({("1",) * 5: 1}, 6, "1 to 4 words"),
        ({("9",): 1}, 6, r"\('9',\) has '9', which .*cocotalk.json does not contain"),
        ({("1",): 1, ("2", "1"): 1}, 6, "exists but not its first 1 words"),
    ],
)
def test_malformed_pickles_are_named(
    tmp_path: Path, vocabulary: Vocabulary, cocotalk: Path, table: Any, ref_len: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        frequencies_of_pickle(save(tmp_path / "x.p", table, ref_len), vocabulary, cocotalk)


def test_other_words_are_refused(tmp_path: Path, vocabulary: Vocabulary, cocotalk: Path) -> None:
    ids, words = save(tmp_path / "i.p", BY_ID), save(tmp_path / "w.p", BY_WORD)
    with pytest.raises(InputError, match="contains word ids: give the JSON"):
        frequencies_of_pickle(ids, vocabulary)
    more = build_vocabulary({**WORDS, "cat": 1}, min_count=1)
    with pytest.raises(
        InputError, match=r"0 only in the file \(none\), 1 only in the vocabulary \(cat\)"
    ):
        frequencies_of_pickle(ids, more, cocotalk)
    fewer = build_vocabulary({"a": 3}, min_count=1)
    with pytest.raises(InputError, match=r"1 only in the file \(dog\), 0 only in the vocabulary"):
        frequencies_of_pickle(ids, fewer, cocotalk)
    with pytest.raises(InputError, match=r"1 of its words are not in the vocabulary \(dog\)"):
        frequencies_of_pickle(words, fewer)
    for content in ('{"ix_to_word": {"1": 2}}', '{"ix_to_word": []}', "{}"):
        cocotalk.write_text(content)
        with pytest.raises(InputError, match=r'expected \{"ix_to_word"'):
            frequencies_of_pickle(ids, vocabulary, cocotalk)
    cocotalk.write_text('{"ix_to_word": {"1": "a", "2": "a"}}')
    with pytest.raises(InputError, match="assigns two ids to one word"):
        frequencies_of_pickle(ids, vocabulary, cocotalk)
    with pytest.raises(InputError, match="there is no source file"):
        frequencies_of_pickle(tmp_path / "none.p", vocabulary)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 400), st.binary(max_size=5), st.integers(0, 20))
def test_damaged_pickles_are_input_errors(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes, cut: int
) -> None:
    path = save(tmp_path_factory.mktemp("p") / "x.p", BY_WORD)
    data = path.read_bytes()
    path.write_bytes(data[:at] + noise + data[at + cut :])
    try:
        frequencies_of_pickle(path, build_vocabulary(WORDS, min_count=1))
    except InputError:
        return
