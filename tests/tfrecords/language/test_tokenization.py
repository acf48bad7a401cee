from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.formats.text.reading import plan_parts, read_part
from tfrecords.formats.text.sources import TextSource
from tfrecords.language.tokenization import _tokenize_any, normalize, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A man's dog, running.", "a man 's dog running"),
        ("A dog. It runs!", "a dog it runs"),
        ("It isn\u2019t a \u201cT-shirt\u201d", "it is n't a t-shirt"),
        ("U.S. flag", "u.s. flag"),
        ("cannot -- stop", "can not stop"),
        ("10,000 people at 3:30", "10,000 people at 3:30"),
        ("caf\u00e9 \uff21\u200b\x07b", "caf\u00e9 a b"),
        ("  \t ", ""),
        ("...", ""),
    ],
)
def test_golden(text: str, tokens: str) -> None:
    assert tokenize(text) == tokens.split()


def test_punctuation_can_be_kept() -> None:
    assert tokenize("A dog. It runs, fast.", keep_punctuation=True) == (
        "a dog . it runs , fast .".split()  # noqa: SIM905 - easier to read
    )


PLAIN = st.text("abcotgnw019 -,.'", max_size=40)


@settings(deadline=None)
@given(st.one_of(PLAIN, st.text(max_size=40)))
def test_the_short_way_gives_what_nltk_gives(text: str) -> None:
    tokens = tokenize(text)
    assert tokens == _tokenize_any(normalize(text).lower(), keep_punctuation=False)
    assert all(len(token.split()) == 1 and any(map(str.isalnum, token)) for token in tokens)


def test_the_short_way_on_real_captions(shared_data: Path) -> None:
    source = TextSource(shared_data / "coco" / "captions_val2017.json")
    texts = [t for part in plan_parts(source) for t in read_part(part) if isinstance(t, str)]
    assert len(texts) == 25014
    for text in texts:
        assert tokenize(text) == _tokenize_any(normalize(text).lower(), keep_punctuation=False)
