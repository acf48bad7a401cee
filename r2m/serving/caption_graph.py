"""Captions as text, with scores and confidences, inside a graph."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from r2m.inference.run import Run
from r2m.serving.signatures import STATUS, Tensors
from tfrecords.core.segmentation import is_unspaced
from tfrecords.core.vocabulary import END_ID, START_ID, Vocabulary
from tfrecords.pictures.batch_decoding import OK

_NAN = float("nan")


class SentenceWriter:
    """Converts word ids to sentences like `Vocabulary.decode`, inside a graph."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Stores the words as constants."""
        self._words = tf.constant(vocabulary.words)
        unspaced = set(unspaced_ids(vocabulary))
        self._unspaced = tf.constant([number in unspaced for number in range(len(vocabulary))])

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns sentences string [...] of ids int32 [..., T], which are 0 after the end."""
        words, is_word = self.words(tokens), self.is_word(tokens)
        alone = tf.gather(self._unspaced, tokens)
        # No space before the first word and next to words of scripts without spaces.
        joined = alone[..., 1:] | alone[..., :-1]
        joined = tf.concat([tf.ones_like(alone[..., :1]), joined], axis=-1)
        words = tf.strings.join([tf.where(joined | ~is_word, "", " "), words])
        return tf.strings.reduce_join(words, axis=-1)

    def words(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns words string [..., T], empty for markers."""
        return tf.where(self.is_word(tokens), tf.gather(self._words, tokens), "")

    def is_word(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns bool [..., T], False for padding and markers."""
        return tokens > max(START_ID, END_ID)


def unspaced_ids(vocabulary: Vocabulary) -> list[int]:
    """Returns the ids of words that `Vocabulary.decode` writes without surrounding spaces."""
    if vocabulary.segmenter == "words":
        return []
    return [number for number, word in enumerate(vocabulary.words) if is_unspaced(word)]


class CaptionGraph:
    """The caption search of a run with its outputs, inside a graph."""

    def __init__(self, run: Run, captions: int) -> None:
        """Prepares the search; graphs are traced later.

        Args:
            run: run to caption with.
            captions: n, captions per item.

        Raises:
            InputError: more captions are requested than the beam has hypotheses.
        """
        self._captioning = run.captioning.returning(captions)
        self._signature = run.loaded.signature
        self._model: Any = run.model
        self._calibration = None if run.calibration is None else run.calibration.calibration
        self.write = SentenceWriter(run.vocabulary)

    @property
    def notes(self) -> tuple[str, ...]:
        """Limits of the captions, for a model card."""
        if self._calibration is not None:
            return ()
        return (
            "Confidences are NaN: the run has no calibration for these settings of decoding "
            "(r2m-evaluate on the split val fits it).",
        )

    def caption(self, inputs: Tensors, status: tf.Tensor, keys: tf.Tensor | None = None) -> Tensors:
        """Returns captions, best first.

        Args:
            inputs: model inputs of B items.
            status: string [B]; items whose status is not `ok` get empty captions.
            keys: int32 [B], keys of random draws; None: equal draws for all.

        Returns:
            `captions` string [B, n], empty if the search found fewer; `scores`, `log_probabilities`
            and `confidences` float32 [B, n], NaN without a caption; and `status`. Confidences are
            NaN if the run has no calibration.
        """
        found = self._search(inputs, keys)
        is_found = (found.lengths > 0) & (status == OK)[:, tf.newaxis]
        confidences = tf.fill(tf.shape(found.scores), _NAN)
        if self._calibration is not None:
            # In double precision, as in `Calibration`.
            words = tf.cast(tf.maximum(found.lengths, 1), tf.float64)
            means = tf.cast(found.log_probabilities, tf.float64) / words
            own = self._calibration
            logits = own.intercept + own.slope * means
            confidences = tf.cast(tf.sigmoid(logits), tf.float32)
        numbers = {
            "scores": found.scores,
            "log_probabilities": found.log_probabilities,
            "confidences": confidences,
        }
        return {
            "captions": tf.where(is_found, self.write(found.tokens), ""),
            **{name: tf.where(is_found, number, _NAN) for name, number in numbers.items()},
            STATUS: status,
        }

    def attend(self, inputs: Tensors, status: tf.Tensor, keys: tf.Tensor | None = None) -> Tensors:
        """Returns the best caption with the attention per word.

        Args:
            inputs: see `caption`.
            status: see `caption`.
            keys: see `caption`.

        Returns:
            `captions` string [B, 1], `words` string [B, T], `attention` float32 [B, T, L], zeros
            behind the caption, and `status`.
        """
        best = self._search(inputs, keys).tokens[:, 0]
        best = tf.where((status == OK)[:, tf.newaxis], best, 0)
        start = tf.fill([tf.shape(best)[0], 1], START_ID)
        # Inputs of the decoder: the word before each word.
        fed = tf.concat([start, best[:, :-1]], axis=1)
        weights = tf.cast(self._model.attention(self._model.encode(inputs), fed), tf.float32)
        is_word = self.write.is_word(best)
        return {
            "captions": self.write(best)[:, tf.newaxis],
            "words": self.write.words(best),
            "attention": tf.where(is_word[:, :, tf.newaxis], weights, 0),
            STATUS: status,
        }

    def _search(self, inputs: Tensors, keys: tf.Tensor | None) -> Any:
        inputs = {name: inputs[name] for name in self._signature}
        batch = tf.shape(next(iter(inputs.values())))[0]
        keys = tf.zeros([batch], tf.int32) if keys is None else keys
        # Inlined, because each signature may read its own weights, see `compact_weights`.
        return self._captioning.decode.python_function(inputs, keys)


def draw_keys(items: tf.Tensor) -> tf.Tensor:
    """Returns int32 [B], equal for equal strings [B]."""
    return tf.cast(tf.strings.to_hash_bucket_fast(items, (1 << 31) - 1), tf.int32)
