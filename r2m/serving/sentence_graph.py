"""Conversion of sentences to word ids of a visual-semantic embedding, inside a graph.

`RetrievalRun.encode_sentences` does the same in Python.
"""

from __future__ import annotations

import tensorflow as tf

from pipelines.normal_form import NormalForm
from pipelines.retrieval_batches import PairOptions
from pipelines.tokenization import tokenize
from r2m.serving.signatures import first_fault
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import END_ID, PAD_ID, START_ID, Vocabulary
from tfrecords.pictures.batch_decoding import OK

NO_WORDS = "empty: there is no word in the text"
UNKNOWN = "unknown_words: none of the words is in the vocabulary"
# Characters at which Python's `str.split` splits, but not RE2's \s and \p{Z}.
_WHITE_SPACE = r"[\s\p{Z}\x{0b}\x{1c}-\x{1f}\x{85}]+"


class SentenceWords:
    """Splits sentences into words and looks up their ids, as in the training of a run.

    Attributes:
        tables: lookup tables, which an exported model must own.
    """

    def __init__(self, vocabulary: Vocabulary, rule: str, options: PairOptions) -> None:
        """Creates the tables.

        Args:
            vocabulary: vocabulary of the run.
            rule: rule by which sentences are split, a key of
                `tfrecords.formats.paired.word_rules.RULES`.
            options: options of the sentences.

        Raises:
            InputError: the rule or the segmenter cannot run in a graph.
        """
        # Without markers, which are not words even if they occur in the text.
        words = vocabulary.words[END_ID + 1 : vocabulary.unk_id]
        ids = tf.range(END_ID + 1, vocabulary.unk_id, dtype=tf.int32)
        self._ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(words, tf.string), ids),
            default_value=vocabulary.unk_id,
        )
        self._form = NormalForm()
        self._rule, self._segmenter, self._options = rule, vocabulary.segmenter, options
        self._unknown = vocabulary.unk_id
        self.tables = (self._ids, *self._form.tables)
        if vocabulary.segmenter == "icu" or (rule == "kiros" and vocabulary.segmenter != "words"):
            raise InputError(
                f"sentences split by the rule {rule} and the segmenter {vocabulary.segmenter} "
                "cannot be split in a graph"
            )

    def __call__(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the inputs of the sentence encoder.

        Args:
            texts: string [B], UTF-8.

        Returns:
            Ids int32 [B, T], lengths int32 [B], and string [B], `ok` or the fault. Sentences that
            cannot be encoded become the end marker alone.
        """
        words = self._split(texts)
        ids = words.with_flat_values(self._ids.lookup(words.flat_values))
        known = tf.reduce_any(ids != self._unknown, axis=1)
        status = first_fault(
            tf.where(words.row_lengths() > 0, OK, NO_WORDS), tf.where(known, OK, UNKNOWN)
        )
        parts = [ids[:, : self._options.max_length - 1], _marker(END_ID, ids)]
        if self._options.start_marker:
            parts.insert(0, _marker(START_ID, ids))
        found = tf.concat(parts, axis=1)
        return found.to_tensor(PAD_ID), tf.cast(found.row_lengths(), tf.int32), status

    def _split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        if self._rule == "kiros":
            spaced = tf.strings.regex_replace(texts, _WHITE_SPACE, " ")
            return tf.strings.split(tf.strings.strip(spaced))
        return tokenize(
            texts,
            keep_punctuation=self._rule == "vsepp",
            segmenter=self._segmenter,
            normal_form=self._form,
        )


def _marker(number: int, rows: tf.RaggedTensor) -> tf.RaggedTensor:
    """Returns a marker per row."""
    filled = tf.fill(rows.nrows(tf.int32)[tf.newaxis], number)
    return tf.RaggedTensor.from_uniform_row_length(filled, 1)
