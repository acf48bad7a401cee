"""Unicode normal form NFKC by TensorFlow's own operations.

`tensorflow_text.normalize_utf8` needs a custom operation, which is missing on servers without that
package. Here tables of single characters and of pairs replace it, with equal results for all text
with at most one combining mark per character.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Iterator

import tensorflow as tf

_SHIFT = 21  # bits of a code point
_HANGUL = range(0xAC00, 0xD7A4)  # composed of letters by rule, and already in normal form


class NormalForm:
    """NFKC of strings, inside a graph.

    Attributes:
        tables: lookup tables, which an exported model must own.
    """

    def __init__(self) -> None:
        """Creates the tables."""
        changed, pairs = _changed_characters(), _composed_pairs()
        self._character = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(list(changed), tf.int32), tf.constant(list(changed.values()))
            ),
            default_value="",
        )
        self._pair = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(list(pairs), tf.int64), tf.constant(list(pairs.values()), tf.int32)
            ),
            default_value=-1,
        )
        self.tables = (self._character, self._pair)

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """Returns text string [B] in normal form; damaged UTF-8 becomes U+FFFD."""
        codes = tf.strings.unicode_decode(text, "UTF-8")
        flat = codes.flat_values
        changed = self._character.lookup(flat)
        kept = tf.strings.unicode_encode(flat[:, tf.newaxis], "UTF-8")
        characters = codes.with_flat_values(tf.where(changed == "", kept, changed))
        joined = tf.strings.reduce_join(characters, axis=-1)
        codes = tf.strings.unicode_decode(joined, "UTF-8")
        # The pairs of a sentence, in one vector: a mark may not join the sentence before.
        flat, rows = codes.flat_values, codes.value_rowids()
        wide = tf.cast(flat, tf.int64)
        together = wide[:-1] * (1 << _SHIFT) + wide[1:]
        pair = tf.where(rows[:-1] == rows[1:], self._pair.lookup(together), -1)
        begins = tf.pad(pair, [[0, 1]], constant_values=-1)[: tf.size(flat)]
        ends = tf.pad(pair, [[1, 0]], constant_values=-1)[: tf.size(flat)]
        composed = codes.with_flat_values(tf.where(begins >= 0, begins, flat))
        composed = tf.ragged.boolean_mask(composed, codes.with_flat_values(ends < 0))
        return tf.strings.unicode_encode(composed, "UTF-8")


@functools.cache
def _changed_characters() -> dict[int, str]:
    """Returns code points of characters that NFKC changes, and their normal forms."""
    return {
        code: form
        for code in _characters()
        if (form := unicodedata.normalize("NFKC", chr(code))) != chr(code) and form
    }


@functools.cache
def _composed_pairs() -> dict[int, int]:
    """Returns pairs of a character and a mark as numbers -> the character that they compose."""
    found: dict[int, int] = {}
    for code in _characters():
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) != 2 or parts[0].startswith("<"):
            continue
        pair = "".join(chr(int(part, 16)) for part in parts)
        for decomposed in {pair, unicodedata.normalize("NFC", pair[0]) + pair[1]}:
            if unicodedata.normalize("NFC", decomposed) == chr(code):
                found[(ord(decomposed[0]) << _SHIFT) | ord(decomposed[1])] = code
    return found


def _characters() -> Iterator[int]:
    for code in range(0x80, sys.maxunicode + 1):
        if code not in _HANGUL and not 0xD800 <= code < 0xE000:
            yield code
