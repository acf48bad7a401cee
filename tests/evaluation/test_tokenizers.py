"""Tokenizers: golden cases from Stanford's tokenizer, and properties for any text."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

from r2m.evaluation import java, ptb, tokenizers
from tfrecords.core.errors import InputError

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no java on the PATH")

GOLDEN = {
    "A man riding a wave on top of a surfboard.": "a man riding a wave on top of a surfboard",
    "The man's dog can't swim; they're wet!": "the man 's dog ca n't swim they 're wet",
    "I cannot say, he's gonna 'tis o'clock": "i can not say he 's gon na 't is o'clock",
    "A boy (left) with [x]": "a boy -lrb- left -rrb- with -lsb- x -rsb-",
    "wow!! what?! yes!": "wow !! what ?! yes",
    "sign says \"STOP\" and ``go''": "sign says stop and go",
    "black/white T-shirt, 3/4-inch": "black/white t-shirt 3/4-inch",
    "at 3:30pm on St. Luke Ave.": "at 3:30 pm on st. luke ave.",
    "the letter P. and a u.s. flag": "the letter p. and a u.s. flag",
    "the letter x. The end": "the letter x the end",
    "cost $5.00, 50% of 37,000": "cost $ 5.00 50 % of 37,000",
    "rock 'n' roll in '09 'cause": "rock 'n' roll in '09 'cause",
    "A&M and b&w, slip & slide": "a&m and b & w slip & slide",
    "a river.A dog ... ends -- here -": "a river.a dog ends here",
    "caf\u00e9 \u2014 it\u2019s \u00a35 \U0001f600": "caf\u00e9 it 's # 5",
    "i <3 this :)": "i < 3 this :-rrb-",
    "<unk> and <b>": "<unk> and <b>",
    "a\u2028b\rc\x0bd": "a b c d",
    "...": "",
    "": "",
    " \n ": "",
}


def test_golden_in_python() -> None:
    assert {text: ptb.tokenize(text) for text in GOLDEN} == GOLDEN


@needs_java
def test_golden_in_java() -> None:
    tokens = tokenizers.tokenize(list(GOLDEN), "ptb")
    assert dict(zip(GOLDEN, tokens, strict=True)) == GOLDEN


def test_the_punctuation_list_is_pycocoevalcaps() -> None:
    assert set(PUNCTUATIONS) == ptb.PUNCTUATION


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_gives_clean_tokens(text: str) -> None:
    tokens = ptb.tokenize(text)
    assert tokens == " ".join(tokens.split()) and len(tokens.splitlines()) <= 1
    assert not ptb.PUNCTUATION & set(tokens.split(" "))


@given(st.lists(st.text("bcdefhijk", min_size=2, max_size=8), min_size=1, max_size=10))
def test_plain_words_pass_through(words: list[str]) -> None:
    assert ptb.tokenize(" ".join(words).upper() + " .") == " ".join(words)


@needs_java
@given(st.lists(st.text(max_size=30), max_size=4))
@settings(max_examples=5, deadline=None)
def test_java_returns_one_line_a_caption(captions: list[str]) -> None:
    assert len(tokenizers.tokenize(captions, "ptb")) == len(captions)


@given(st.text("aZ bN,.'cannotgonna", max_size=30))
@settings(max_examples=300)
def test_the_short_cut_changes_nothing(text: str) -> None:
    assert ptb.tokenize(text) == ptb._tokenize(text)


def test_choose_with_and_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tokenizers.choose("ptb_python") == "ptb_python"
    with pytest.raises(InputError, match="unknown tokenizer 'moses'; known: auto, ptb, ptb_python"):
        tokenizers.choose("moses")
    with pytest.raises(InputError, match="known: ptb, ptb_python"):
        tokenizers.tokenize(["a"], "auto")
    monkeypatch.setenv("PATH", "")
    assert tokenizers.choose("auto") == "ptb_python"
    with pytest.raises(InputError, match="'ptb' cannot run: Java is not installed"):
        tokenizers.choose("ptb")


@needs_java
def test_choose_auto_takes_java_when_it_is_there() -> None:
    assert tokenizers.choose("auto") == "ptb"


def test_missing_jar_is_named() -> None:
    with pytest.raises(java.JavaError, match=r"no file tokenizer/x\.jar"):
        java.jar("tokenizer", "x.jar")
