"""Lookup of concepts by words, as inputs of R2M, inside a graph.

`ConceptRules.named_concepts` does the same in Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from r2m.inference.concept_rules import ConceptRules
from r2m.serving.signatures import Tensors
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.pictures.batch_decoding import OK

# Rows of names without concepts, and of names missing in a table.
_NONE, _ABSENT = -1, -2
# The last word of the name of a class, as `tfrecords.language.concepts` finds it.
_LETTER = r"[\p{L}\p{N}\p{M}]"
_LAST_WORD = rf"^.*?({_LETTER}+(?:[-']{_LETTER}+)*)[^\p{{L}}\p{{N}}\p{{M}}]*$"


class ConceptWords:
    """Looks up concepts by words: those of the vocabulary, and the classes of the detectors.

    Attributes:
        tables: lookup tables, which an exported model must own.
    """

    def __init__(self, rules: ConceptRules, vocabulary: Vocabulary) -> None:
        """Creates the tables.

        Args:
            rules: rules of the run.
            vocabulary: vocabulary of the model.
        """
        dictionary = rules.dictionary
        entries: dict[tuple[str, ...], int] = {}
        words = {word: entries.setdefault((word,), len(entries)) for word in vocabulary.words}
        classes, forms = (
            {
                name: entries.setdefault(concepts, len(entries)) if concepts else _NONE
                for name, concepts in named.items()
            }
            for named in (dictionary.classes, dictionary.forms)
        )
        rows = [[vocabulary.id_of(word) for word in concepts] for concepts in entries]
        width = max(map(len, rows))
        padded = [row + [0] * (width - len(row)) for row in rows]
        self._ids = tf.constant(padded, tf.int64)
        self._counts = tf.constant([len(row) for row in rows], tf.int64)
        self._size = len(vocabulary)
        self._words, self._classes, self._forms = map(_table, (words, classes, forms))
        self.tables = (self._words, self._classes, self._forms)

    def __call__(self, words: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.Tensor]:
        """Returns concepts in the form of image records.

        Args:
            words: string [B, K], the most important one first; empty strings are padding.
                Repetitions of a word give the count of its concept.

        Returns:
            Ids int64 [B, (K')] and counts int64 [B, (K')], the most important one last; and string
            [B], `ok` or a message that names an unknown word.
        """
        rows = self._find(words)
        is_word = words != ""
        is_unknown = is_word & (rows < 0)
        status = self._status(words, is_word, is_unknown)
        rows = tf.maximum(rows, 0)
        places = tf.range(self._ids.shape[1], dtype=tf.int64)
        is_there = is_word[..., None] & (places < tf.gather(self._counts, rows)[..., None])
        size = [tf.shape(words)[0], tf.shape(words)[1] * self._ids.shape[1]]
        ids = tf.reshape(tf.gather(self._ids, rows), size)
        is_there = tf.reshape(is_there & ~is_unknown[..., None], size)
        counts, is_first = self._count(ids, is_there)
        # Concepts in the order in which they are first named, and then backwards.
        backwards = [tf.reverse(x, [1]) for x in (ids, counts, is_first)]
        ids, counts = (tf.ragged.boolean_mask(x, backwards[2]) for x in backwards[:2])
        return ids, counts, status

    def _count(self, ids: tf.Tensor, is_there: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Counts concepts [B, K'] within their rows, with memory proportional to K'.

        Returns:
            The number of occurrences in the row, int64, and whether this is the first one.
        """
        batch, places = tf.shape(ids)[0], tf.shape(ids)[1]
        segments = tf.range(batch)[:, None] * self._size + tf.cast(ids, tf.int32)
        count = tf.math.unsorted_segment_sum(
            tf.cast(is_there, tf.int64), segments, batch * self._size
        )
        place = tf.where(is_there, tf.range(places), places)
        first = tf.math.unsorted_segment_min(place, segments, batch * self._size)
        return tf.gather(count, segments), is_there & (tf.gather(first, segments) == place)

    def _find(self, words: tf.Tensor) -> tf.Tensor:
        """Returns rows int32 [B, K] of the concepts; negative for words without a concept."""
        key = self._key(words)
        first = self._key(tf.strings.regex_replace(words, ",.*", ""))
        last = tf.strings.regex_replace(first, _LAST_WORD, r"\1")
        found = self._forms.lookup(last)
        for table, name in ((self._classes, first), (self._classes, key), (self._words, words)):
            own = table.lookup(name)
            # A class without concepts is not a concept, whatever its last word is.
            found = tf.where(own == _ABSENT, found, own)
        return found

    def _key(self, names: tf.Tensor) -> tf.Tensor:
        """Returns names of classes normalized as by `tfrecords.language.concepts.class_key`."""
        names = tf.strings.lower(names, encoding="utf-8")
        return tf.strings.strip(tf.strings.regex_replace(names, r"[\s_]+", " "))

    def _status(self, words: tf.Tensor, is_word: tf.Tensor, is_unknown: tf.Tensor) -> tf.Tensor:
        # One additional column, because rows may have no words.
        last = [[0, 0], [0, 1]]
        first = tf.argmax(tf.pad(tf.cast(is_unknown, tf.int32), last), axis=1)
        named = tf.gather(tf.pad(words, last, constant_values=""), first, batch_dims=1)
        unknown = tf.strings.join(["unknown_concept: the model has no concept '", named, "'"])
        status = tf.where(tf.reduce_any(is_unknown, axis=1), unknown, OK)
        nothing = "empty: the item has no concepts"
        return tf.where(tf.reduce_any(is_word, axis=1), status, nothing)


def _table(entries: Mapping[str, int]) -> tf.lookup.StaticHashTable:
    keys: Sequence[str] = list(entries) or [""]
    values = np.array([entries.get(key, _ABSENT) for key in keys], np.int32)
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(keys), tf.constant(values))
    return tf.lookup.StaticHashTable(pairs, default_value=_ABSENT)


def inputs_of_concepts(words: tf.Tensor, lookup: ConceptWords, inputs: Any) -> tuple[Tensors, Any]:
    """Returns the model inputs of words string [B, K], and their status string [B]."""
    ids, counts, status = lookup(words)
    return inputs.assemble({"concepts": ids, "concept_counts": counts}), status
