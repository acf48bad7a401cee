from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines import tokenization
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import build_vocabulary
from tfrecords.formats.text.reading import plan_parts, read_part
from tfrecords.formats.text.sources import TextSource
from tfrecords.language.tokenization import tokenize

_TEXT = [tf.TensorSpec([None], tf.string)]


@tf.function(input_signature=_TEXT)
def _words(text: tf.Tensor) -> tf.RaggedTensor:
    return tokenization.tokenize(text)


@tf.function(input_signature=_TEXT)
def _words_and_punctuation(text: tf.Tensor) -> tf.RaggedTensor:
    return tokenization.tokenize(text, keep_punctuation=True)


def in_graph(texts: list[str], keep_punctuation: bool = False) -> list[list[str]]:
    run = _words_and_punctuation if keep_punctuation else _words
    return [[word.decode() for word in row] for row in run(tf.constant(texts)).to_list()]


def captions(path: Path) -> list[str]:
    parts = plan_parts(TextSource(path))
    return [text for part in parts for text in read_part(part) if isinstance(text, str)]


@pytest.mark.parametrize(
    ("pattern", "number", "not_ascii"),
    [
        ("coco/captions_val2017.json", 25_014, 0),
        ("conceptual_captions/*.tsv", 15_833, 29),
        ("flickr8k/captions.token.txt", 35_000, 0),
        ("coco/karpathy_test5k_captions.json", 25_000, 0),
        ("corpora/coco_dev_captions.txt", 5_000, 0),
        ("corpora/flickr30k_dev_captions.txt", 5_070, 1),
        ("iu_xray/annotation.json", 13_589, 0),
        ("iu_xray/indiana_reports.csv", 15_463, 0),
        ("coco/mini/annotations/captions_train2017.json", 400, 0),
        ("coco/mini/annotations/captions_val2017.json", 395, 0),
        ("metric_oracle_flickr30k/references.txt", 5_000, 0),
    ],
)
def test_every_real_caption_has_the_same_words(
    shared_data: Path, pattern: str, number: int, not_ascii: int
) -> None:
    """Agreement is 100 %, also on the captions that are not ASCII (dashes, accents, symbols)."""
    (path,) = shared_data.glob(pattern)
    texts = captions(path)
    assert (len(texts), sum(not text.isascii() for text in texts)) == (number, not_ascii)
    assert in_graph(texts) == [tokenize(text) for text in texts]


def test_punctuation_can_be_kept_in_real_captions(shared_data: Path) -> None:
    (path,) = shared_data.glob("conceptual_captions/*.tsv")
    texts = captions(path)
    wanted = [tokenize(text, keep_punctuation=True) for text in texts]
    assert in_graph(texts, keep_punctuation=True) == wanted


def test_ids_are_those_of_the_records(shared_data: Path) -> None:
    texts = captions(shared_data / "coco" / "captions_val2017.json")[:5_000]
    tokens = [tokenize(text) for text in texts]
    counts: dict[str, int] = {}
    for word in (word for row in tokens for word in row):
        counts[word] = counts.get(word, 0) + 1
    vocabulary = build_vocabulary(counts, min_count=5)
    table = tokenization.word_table(vocabulary)
    ids = tf.function(lambda text: tokenization.encode(text, table))(tf.constant(texts))
    assert ids.dtype == tf.int32
    assert ids.to_list() == [vocabulary.encode_sentence(row) for row in tokens]
    assert any(vocabulary.unk_id in row for row in ids.to_list())


def test_sentences_without_words() -> None:
    assert in_graph(["", " \t", "...", "a"]) == [[], [], [], ["a"]]
    assert _words(tf.constant([], tf.string)).to_list() == []
    table = tokenization.word_table(build_vocabulary({"a": 1}, min_count=1))
    ids = tokenization.encode(tf.constant(["", "A."]), table)
    assert ids.to_list() == [[1, 2], [1, 3, 2]]


def test_bytes_that_are_no_utf8_are_no_letters() -> None:
    assert _words(tf.constant([b"a \xff\xfe caf\xc3 b"])).to_list() == [
        [b"a", b"caf\xef\xbf\xbd", b"b"]
    ]


# All characters that the rules match, and characters that may be adjacent.
PIECES = (  # noqa: SIM905 - easier to read
    "cannot gonna wanna gotta lemme gimme 'tis 'twas more'n d'ye n't 's 're 'll 't U.S. dog. Dogs "
    "' '' \" ` `` . .. ... , : ; - -- ( ) [ ] < > { } * ? ! % _ a s t 0 3 \u2013 \u2014 \u2019 "
    "\u00b4 \u201c \u00e9 \u00c9 \u00df \u0130 \u03a3 \u03c2 \ufb01 \u4e2d \u0301 \u0307 \u0663 "
    "\u00bd \u00b2 \u2460 \u2177 \u2044 \u203f \U0001f170"
).split()
PIECES += [" ", " ", "\t", "\n", "\x00", "\x01", "\u00a0", "\u200b", "\u1680", "\u2028"]
# Characters that all Unicode versions in use support.
KNOWN = [
    character
    for character in map(chr, range(sys.maxunicode + 1))
    if unicodedata.ucd_3_2_0.category(character) not in ("Cn", "Cs", "Co")
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.sampled_from(KNOWN), max_size=12).map("".join)


@settings(deadline=None, max_examples=200)
@given(st.lists(TEXTS, min_size=1, max_size=40), st.booleans())
@example(["cannot'tis'tis", "more'n'twas'tis", "'s's's 's", "wanna wanna wanna", "a. b. c."], True)
@example(
    ["cannot-cannot-gonna", "\u0301'tis", "\u00e9'cannot", "''tis \"'tis\"", "a:\u0663,b"], True
)
def test_any_text_has_the_same_words(texts: list[str], keep_punctuation: bool) -> None:
    wanted = [tokenize(text, keep_punctuation=keep_punctuation) for text in texts]
    assert in_graph(texts, keep_punctuation) == wanted


def test_words_do_not_depend_on_the_language_of_the_machine() -> None:
    """ICU's lower-casing depends on the locale: in Turkish, I becomes a dotless i."""
    code = (
        "import tensorflow as tf; from pipelines import tokenization as t; "
        "print(t.tokenize(tf.constant(['I \u0130 SKI CAF\u00c9'])).to_list()[0])"
    )
    environment = {**os.environ, "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONUTF8": "1"},
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = [word.encode() for word in tokenize("I \u0130 SKI CAF\u00c9")]
    assert found.stdout.strip() == str(wanted)


@tf.function(input_signature=_TEXT)
def _characters(text: tf.Tensor) -> tf.RaggedTensor:
    return tokenization.tokenize(text, segmenter="characters")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(st.sampled_from("狗草ではラーุสำขກຳก្កែ가é ab12,.。'-&々")), max_size=8))
@example(["一只iPhone 12手机,在3个狗旁边。", "สุนัขสีดำกำลังวิ่ง", "ໝາດຳກຳລັງ"])
def test_characters_are_the_same_words_in_a_graph(texts: list[str]) -> None:
    found = [
        [word.decode() for word in row]
        for row in _characters(tf.constant(texts, tf.string)).to_list()
    ]
    assert found == [tokenize(text, segmenter="characters") for text in texts]
    with pytest.raises(InputError, match="icu' cannot run in a graph"):
        tokenization.tokenize(tf.constant(texts, tf.string), segmenter="icu")
