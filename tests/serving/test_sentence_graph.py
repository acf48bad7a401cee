"""Sentences are tokenized in a graph by the rules of the training."""

from __future__ import annotations

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.retrieval_batches import PairOptions
from r2m.inference.retrieval_model import encoder_ids
from r2m.serving.sentence_graph import NO_WORDS, UNKNOWN, SentenceWords
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import END, PAD, START, UNK, Vocabulary
from tfrecords.formats.paired.types import Caption
from tfrecords.formats.paired.word_rules import RULES
from tfrecords.pictures.batch_decoding import OK

WORDS = (
    PAD,
    START,
    END,
    "a",
    "dog",
    "n't",
    "is",
    "caf\u00e9",
    ",",
    ".",
    "Dog",
    "it's",
    "u.s.",
    UNK,
)
VOCABULARY = Vocabulary(WORDS, (1,) * len(WORDS))
PIECES = [
    "a", "dog", "Dog", "isn't", "it's", "caf\u00e9", "cafe\u0301", "CAF\u00c9", "u.s.", ",", ".",
    " ", "  ", "\t", "\u00a0", "\u2003", "\x1f", "\u2019", '"', "xyz", "<S>", "-", "!", "\u00bd",
]  # fmt: skip
OPTIONS = {rule: PairOptions(max_length=6, start_marker=rule != "kiros") for rule in RULES}
IN_GRAPH = {
    rule: tf.function(
        SentenceWords(VOCABULARY, rule, OPTIONS[rule]),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )
    for rule in RULES
}


def in_python(text: str, rule: str) -> tuple[list[int], str]:
    words = RULES[rule].split(Caption(text=text), "words")
    ids = VOCABULARY.encode([UNK if word in (PAD, START, END) else word for word in words])
    status = OK if any(n != VOCABULARY.unk_id for n in ids) else UNKNOWN if ids else NO_WORDS
    return encoder_ids(ids, OPTIONS[rule]), status


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=9).map("".join), min_size=1))
def test_ids_are_those_of_python(rule: str, texts: list[str]) -> None:
    tokens, lengths, statuses = (x.numpy() for x in IN_GRAPH[rule](tf.constant(texts)))
    for text, row, length, status in zip(texts, tokens, lengths, statuses, strict=True):
        expected, reason = in_python(text, rule)
        assert (row[:length].tolist(), status.decode()) == (expected, reason), text
        assert not row[length:].any()


def test_segmenters_that_cannot_run_in_a_graph_are_refused() -> None:
    for rule, segmenter in (("vsepp", "icu"), ("kiros", "characters")):
        vocabulary = Vocabulary(WORDS, (1,) * len(WORDS), segmenter)
        with pytest.raises(InputError, match=f"rule {rule} and the segmenter {segmenter}"):
            SentenceWords(vocabulary, rule, OPTIONS[rule])
