"""Captions of images by a model: search, ranking and decoding to text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import tensorflow as tf

from models.decoding.options import largest_beam
from models.decoding.search import Captions, DecodingOptions, decode
from r2m.configuration.decoding_settings import BAD_ENDINGS, option_values
from r2m.configuration.settings import setting
from r2m.engine.distribution.cores import cores
from r2m.inference.constraint_words import constraint_phrases
from tfrecords.core.errors import InputError
from tfrecords.core.progress import CountProgress
from tfrecords.core.vocabulary import Vocabulary

# Images per beam search, independent of the training batch size: large batches are faster.
CAPTIONED_AT_ONCE = 100
# (inputs of B images, captions that a search found) -> value of each hypothesis, float[B, R].
Reranker = Callable[[Mapping[str, tf.Tensor], Captions], np.ndarray]


class Hypothesis(NamedTuple):
    """A caption that a search found.

    Attributes:
        caption: its words.
        log_probability: natural logarithm of its probability, end marker included.
        score: log_probability divided by the length penalty; the search ranks captions by it.
        reranked: value from the reranker; None without one.
        length: number of its words, end marker included.
        confidence: probability that it is as good as a typical human caption
            (`r2m.evaluation.confidence`); None if it is not calibrated.
    """

    caption: str
    log_probability: float
    score: float
    reranked: float | None
    length: int
    confidence: float | None = None


class _Found(NamedTuple):
    """Captions of B images, best first, as NumPy arrays; see `models.decoding.search.Captions`."""

    tokens: np.ndarray
    lengths: np.ndarray
    scores: np.ndarray
    log_probabilities: np.ndarray
    values: np.ndarray | None


def search_options(
    config: Any, vocabulary: Vocabulary, *, returned: int | None = 1
) -> DecodingOptions:
    """Returns the options of the caption search that `config.decoding` describes.

    Args:
        config: configuration of the experiment.
        vocabulary: the model's vocabulary.
        returned: captions per image; None returns the whole beam.

    Raises:
        InputError: a setting is out of range, the beam is wider than the vocabulary, or a word is
            not in the vocabulary.
    """
    decoding = config.decoding
    suppressed = [0, 1] if decoding.allow_unknown else [0, 1, vocabulary.unk_id]
    bad_endings = [vocabulary.id_of(word) for word in BAD_ENDINGS if word in vocabulary]
    required, excluded = constraint_phrases(decoding, vocabulary)
    with setting("config.decoding"):
        search = DecodingOptions(
            **option_values(decoding),
            required=required,
            excluded=excluded,
            returned=returned,
            bad_endings=tuple(bad_endings) if decoding.block_bad_endings else (),
            suppressed=tuple(suppressed),
        )
    most = largest_beam(len(vocabulary), search)
    # A greedy search needs no second word.
    if search.beam_size > max(most, 1) and not search.samples:
        raise InputError(
            f"beam_size={search.beam_size} (--config.decoding.beam_size, or --beam_size): must be "
            f"at most {most}, the words of the vocabulary that can follow the start of a caption"
        )
    return search


class Captioning:
    """Captions images with a model: from batches of inputs of `encode` to sentences.

    Attributes:
        decode: search in a graph: (inputs of B images by name, int32[B] keys of random draws) ->
            `models.decoding.captions.Captions`.
    """

    def __init__(
        self,
        model: Any,
        vocabulary: Vocabulary,
        search: DecodingOptions,
        signature: Mapping[str, tf.TensorSpec],
        reranker: Reranker | None = None,
    ) -> None:
        """Stores the arguments; the search is compiled when it is first used.

        Args:
            model: a captioner (`models.decoding.search.decode`).
            vocabulary: the model's vocabulary.
            search: options of the search.
            signature: arguments of `encode`; sizes that differ by batch are None.
            reranker: reorders the hypotheses; it receives all inputs. None keeps the order of the
                search.
        """
        self._model, self._reranker = model, reranker
        self._signature, self._count = signature, 1
        self._returning: dict[int, Captioning] = {}
        self._vocabulary = vocabulary
        self._search = search
        # One program for all batches. It is a partial, because TensorFlow warns of a method that
        # many objects compile as if it was retraced repeatedly.
        self.decode = tf.function(
            partial(self._search_all),
            autograph=False,
            input_signature=[dict(signature), tf.TensorSpec([None], tf.int32)],
        )

    def _search_all(self, inputs: dict[str, tf.Tensor], keys: tf.Tensor) -> Captions:
        return decode(self._model, self._model.encode(inputs), self._search, keys)

    def returning(self, count: int) -> Captioning:
        """Returns a copy with `count` hypotheses per image, which shares the model.

        The copy is cached, so that its search is compiled once.

        Raises:
            InputError: the beam is narrower than `count`.
        """
        unlimited = self._search.samples and self._reranker is None
        if count > self._search.beam_size and not unlimited:
            raise InputError(
                f"--captions={count}: must be at most {self._search.beam_size}, the hypotheses "
                f"that the search keeps; or give --beam_size={count}"
            )
        if count in self._returning:
            return self._returning[count]
        # A reranker may prefer the last one.
        returned = count if self._reranker is None else None
        search = dataclasses.replace(self._search, returned=returned)
        found = Captioning(self._model, self._vocabulary, search, self._signature, self._reranker)
        found._count = count
        # Another thread may have created one in the meantime.
        return self._returning.setdefault(count, found)

    def _ranked(self, inputs: Mapping[str, tf.Tensor], keys: np.ndarray) -> _Found:
        tensors = self.decode({name: inputs[name] for name in self._signature}, keys)
        found = Captions(*(tensor.numpy() for tensor in tensors))
        if self._reranker is None:
            return _Found(*found, None)
        values = self._reranker(inputs, found)
        order = np.argsort(-values, axis=1, kind="stable")
        return _Found(
            np.take_along_axis(found.tokens, order[:, :, None], axis=1),
            *(np.take_along_axis(x, order, axis=1) for x in (*found[1:], values)),
        )

    def _search_in_parts(
        self, inputs: Mapping[str, tf.Tensor], names: Sequence[str] | None
    ) -> list[_Found]:
        """Searches captions of the images, divided among the cores, and returns them in order."""
        images = len(next(iter(inputs.values())))
        each = -(-images // cores())
        starts = range(0, images, each or 1)
        parts = [{name: x[at : at + each] for name, x in inputs.items()} for at in starts]
        keys = _draw_keys(range(images) if names is None else names)
        with ThreadPoolExecutor(cores()) as threads:
            return list(threads.map(self._ranked, parts, [keys[at : at + each] for at in starts]))

    def captions(
        self, inputs: Mapping[str, tf.Tensor], names: Sequence[str] | None = None
    ) -> list[str]:
        """Returns the best caption of each of B images.

        Args:
            inputs: inputs of `encode` and of a reranker.
            names: names of the images; drawn captions of an image depend on its name, if it has
                one, and on no other image.
        """
        found = self._search_in_parts(inputs, names)
        return [self._vocabulary.decode(row) for own in found for row in own.tokens[:, 0].tolist()]

    def hypotheses(
        self, inputs: Mapping[str, tf.Tensor], names: Sequence[str] | None = None
    ) -> list[list[Hypothesis]]:
        """Returns captions of B images, best first; for the arguments see `captions`.

        The number per image is one unless changed by `returning`, or less if the search found
        fewer.
        """
        return [
            [self._hypothesis(own, image, place) for place in self._places(own.lengths[image])]
            for own in self._search_in_parts(inputs, names)
            for image in range(len(own.lengths))
        ]

    def _places(self, lengths: np.ndarray) -> list[int]:
        return [place for place in range(min(self._count, len(lengths))) if lengths[place] > 0]

    def _hypothesis(self, found: _Found, image: int, place: int) -> Hypothesis:
        return Hypothesis(
            caption=self._vocabulary.decode(found.tokens[image, place].tolist()),
            log_probability=float(found.log_probabilities[image, place]),
            score=float(found.scores[image, place]),
            reranked=None if found.values is None else float(found.values[image, place]),
            length=int(found.lengths[image, place]),
        )

    def caption_batches(
        self, batches: tf.data.Dataset, progress: CountProgress | None = None
    ) -> dict[str, str]:
        """Captions batches of `image_id` string[B] and inputs; returns image id -> caption.

        `progress` counts the images.
        """
        found: dict[str, str] = {}
        for batch in batches:
            names = [name.decode() for name in batch.pop("image_id").numpy()]
            found.update(zip(names, self.captions(batch, names), strict=True))
            if progress is not None:
                progress.add(len(names))
        return found


def _draw_keys(names: Iterable[object]) -> np.ndarray:
    """Returns a key of random draws per image, int32[B]; equal names have equal keys."""
    return np.array([crc32(str(name).encode()) >> 1 for name in names], np.int32)
