"""NFKC normalization with TensorFlow operations, compared with Python's."""

from __future__ import annotations

import unicodedata

import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.normal_form import NormalForm

MARKS = "\u0300\u0301\u0302\u0303\u0308\u030a\u0327\u0328"
BASES = "aeiouncsAEIOUNCSz1 .-"
SPECIAL = [
    "\ufb01",
    "\u00bd",
    "\uff21",
    "\u2460",
    "\ud55c",
    "\u3042\u3099",
    "\u00b5",
    "\u212b",
    "e",
]
CLUSTERS = st.one_of(
    st.builds(str.__add__, st.sampled_from(BASES), st.sampled_from(["", *MARKS])),
    st.sampled_from(SPECIAL),
)
form = NormalForm()
in_graph = tf.function(form, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(CLUSTERS, max_size=8).map("".join), max_size=4))
def test_text_with_one_mark_per_character_is_normalized_as_by_python(texts: list[str]) -> None:
    found = in_graph(tf.constant(texts, tf.string)).numpy().tolist()
    assert [text.decode() for text in found] == [unicodedata.normalize("NFKC", t) for t in texts]


def test_every_single_character_is_normalized_as_by_python() -> None:
    texts = [chr(code) for code in range(1, 0x2FFFF) if not 0xD800 <= code < 0xE000]
    found = in_graph(tf.constant(texts)).numpy().tolist()
    wrong = [
        text
        for text, own in zip(texts, found, strict=True)
        if own.decode() != unicodedata.normalize("NFKC", text)
    ]
    assert not wrong
