from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import (
    END,
    END_ID,
    PAD,
    PAD_ID,
    START,
    START_ID,
    UNK,
    Vocabulary,
    build_vocabulary,
)

WORDS = st.text(st.characters(blacklist_categories=["Z", "C"]), min_size=1, max_size=6).filter(
    lambda word: len(word.split()) == 1 and word not in (PAD, START, END, UNK)
)


@pytest.fixture
def vocabulary() -> Vocabulary:
    return build_vocabulary({"dog": 7, "a": 9, "cat": 7, "rare": 1, START: 4}, min_count=2)


def test_order_is_markers_then_falling_count_then_alphabet_then_unk(vocabulary: Vocabulary) -> None:
    assert vocabulary.words == (PAD, START, END, "a", "cat", "dog", UNK)
    assert vocabulary.counts == (0, 4, 0, 9, 7, 7, 1)
    assert (PAD_ID, START_ID, END_ID, vocabulary.unk_id) == (0, 1, 2, 6)


def test_always_beats_count_and_allowed() -> None:
    counts = {"a": 9, "xyzzy": 9, "giraffe": 1}
    built = build_vocabulary(counts, min_count=5, always=["giraffe", "zebra"], allowed={"a"})
    assert built.words[3:-1] == ("a", "giraffe", "zebra")
    assert built.counts[-1] == 9


def test_encode_and_decode(vocabulary: Vocabulary) -> None:
    assert vocabulary.encode(["a", "dog", "barks"]) == [3, 5, 6]
    assert vocabulary.encode_sentence(["dog"]) == [1, 5, 2]
    assert vocabulary.decode([1, 3, 5, 2, 4, 0, 0]) == "a dog"
    assert "dog" in vocabulary and "barks" not in vocabulary
    assert vocabulary.id_of("barks") == vocabulary.unk_id


@pytest.mark.parametrize("number", [-1, 7])
def test_an_id_of_another_vocabulary_is_an_error(vocabulary: Vocabulary, number: int) -> None:
    with pytest.raises(InputError, match="7 words"):
        vocabulary.decode([number])


def test_file_is_the_golden_one(vocabulary: Vocabulary, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    vocabulary.save(path)
    golden = b"<pad>\t0\n<S>\t4\n</S>\t0\na\t9\ncat\t7\ndog\t7\n<unk>\t1\n"
    assert path.read_bytes() == golden
    assert vocabulary.sha256 == hashlib.sha256(golden).hexdigest()
    assert Vocabulary.load(path) == vocabulary
    assert list(tmp_path.iterdir()) == [path]


@settings(deadline=None)
@given(st.dictionaries(WORDS, st.integers(1, 99), min_size=1))
def test_any_vocabulary_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str, int]
) -> None:
    built = build_vocabulary(counts, min_count=1)
    path = tmp_path_factory.mktemp("v") / "vocabulary.txt"
    built.save(path)
    assert Vocabulary.load(path) == built
    known = [word for word in counts if word in built]
    assert built.decode(built.encode_sentence(known)) == " ".join(known)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<pad>\t0\n<S>\t0\n</S>\t0\na 3\n<unk>\t0\n", r":4: expected word<TAB>count"),
        (b"<pad>\t0\n<S>\t0\n</S>\t0\na\t-3\n<unk>\t0\n", r":4: expected word<TAB>count"),
        (b"<pad>\t0\n</S>\t0\n<S>\t0\n<unk>\t0\n", r":2: expected the marker <S>"),
        (b"<pad>\t0\n<S>\t0\n", r":3: expected the marker </S>, found 'the end'"),
        (b"<pad>\t0\n<S>\t0\n</S>\t0\na\t1\n", "cut short"),
        (b"<pad>\t0\n<S>\t0\n</S>\t0\na\t1\na\t1\n<unk>\t0\n", r":5: .*is repeated, first as id 3"),
        (b"<pad>\t0\n<S>\t0\n</S>\t0\n\t1\n<unk>\t0\n", r":4: a word is empty"),
        (b"<pad>\t0\ncaf\xe9\t1\n", r":2: the vocabulary file is not UTF-8"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        Vocabulary.load(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_empty_result(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no vocabulary file"):
        Vocabulary.load(tmp_path / "none.txt")
    with pytest.raises(InputError, match="'dog', 3 times"):
        build_vocabulary({"dog": 3}, min_count=4)
