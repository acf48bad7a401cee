"""A trained visual-semantic embedding: vectors of images and of sentences in one space.

import r2m

run = r2m.load("workspace/runs/vse_plus_plus")
images, sentences = run.encode_images(["dog.jpg"]), run.encode_sentences(["a dog on a beach"])
print(images @ sentences.T)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from pipelines import captions
from pipelines.inputs.spec import InputSpec
from pipelines.pairs import count_pairs
from r2m.configuration.config_fields import RETRIEVAL_STAGES
from r2m.inference.captioner_image_inputs import captioner_image_reader
from r2m.inference.captioner_inputs import TrainedInputs
from r2m.inference.captioner_model import open_network
from r2m.inference.encoding import ENCODED_AT_ONCE, Encoding
from r2m.inference.image_sources import GivenImage, image_sources, path_sources
from r2m.inference.record_batches import check_trained_records, image_batches
from r2m.inference.retrieval_model import build_embedding, encoder_ids, pair_options
from r2m.inference.run_folder import RunFolder
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.core.vocabulary import END, PAD, START, UNK
from tfrecords.formats.paired.types import Caption
from tfrecords.formats.paired.word_rules import RULES

# File of a run folder with the rule by which sentences are split into words.
SENTENCES_FILE = "sentences.json"
_RULE = "vocabulary_rule"
_SHOWN = 60  # characters of a sentence in a message


class RetrievalRun:
    """A trained run that encodes images and sentences; `r2m.load` returns it.

    Attributes:
        path: the run folder.
        vocabulary: vocabulary of the sentences.
        similarity: similarity of two vectors: `cosine` (the dot product) or `order`.
        size: D of the vectors.
        folder: the run folder, opened.
        weights: file of the backbone's weights; None where none was given.
        model: embedding with the best weights, else the latest ones.
        trained_on: image inputs that it was trained on.
        signature: signature of these inputs.
        rule: rule by which sentences are split into words, a key of `RULES`.
        pair_options: options of the sentences that the encoder reads.
    """

    def __init__(self, folder: RunFolder, *, weights: str | None = None) -> None:
        """Builds the model of a run and restores its weights.

        Args:
            folder: folder of the run.
            weights: file of the backbone's weights, for runs whose records were built with such a
                file; required to encode images.

        Raises:
            InputError: a file of the run is missing or damaged, or a setting is invalid.
            TrainingError: the run has no complete checkpoint, or one that does not fit.
        """
        self.folder, self.path, self.vocabulary = folder, folder.path, folder.vocabulary
        self.weights = weights
        self.trained_on = TrainedInputs.read(folder)
        _ = folder.checkpoint  # verified before a network is built
        inputs, self.signature = self.trained_on.inputs, self.trained_on.signature
        self.model = build_embedding(
            folder.config,
            len(self.vocabulary),
            inputs.sizes(self.signature),
            open_network(folder.config, load=False),
        )
        folder.restore(self.model)
        self.similarity: Literal["cosine", "order"] = self.model.similarity
        self.size: int = self.model.size
        self.pair_options = pair_options(folder.config)
        self.rule = _read_rule(folder.path)
        self._encoding = Encoding(self.model, self.signature)
        self._reader: Any = None

    def __repr__(self) -> str:
        """Returns the class and the name of the run."""
        return f"<{type(self).__name__} {self.folder.name}>"

    def encode_sentences(
        self, texts: Sequence[str], batch_size: int = ENCODED_AT_ONCE
    ) -> np.ndarray:
        """Encodes sentences, which are split into words like those of the training.

        Args:
            texts: sentences.
            batch_size: sentences per batch.

        Returns:
            float32[N, D], in the order of the sentences.

        Raises:
            InputError: a sentence has no word, or none in the vocabulary.
        """
        if isinstance(texts, str | bytes):
            raise InputError(f"expected a list of sentences, found one text: {texts[:_SHOWN]!r}")
        _check_batch_size(batch_size)
        rows = [self._ids(text, number) for number, text in enumerate(texts)]
        return self._checked(self._encoding.sentences(rows, batch_size), "sentences")

    def knows(self, text: str) -> bool:
        """Returns whether a sentence has a word in the vocabulary."""
        return any(number != self.vocabulary.unk_id for number in self._word_ids(text))

    def encode_images(
        self,
        images: Any,
        batch_size: int = ENCODED_AT_ONCE,
        *,
        detections: Sequence[str | os.PathLike[str]] = (),
    ) -> np.ndarray:
        """Encodes images.

        Args:
            images: paths of image files, or other forms that `ImageCaptioner.caption` accepts.
            batch_size: images that are encoded at once.
            detections: for runs that were trained on regions of detected boxes: files with what the
                same detector found in the images.

        Returns:
            float32[N, D], in the order of the images.

        Raises:
            InputError: an image cannot be read, or the run was trained on features that cannot be
                computed from images.
        """
        _check_batch_size(batch_size)
        vectors = [np.zeros((0, self.size), np.float32)]
        sources: Iterator[GivenImage] = image_sources(images)
        if detections:
            listed = list(path_sources(images))
            reader = self._image_reader(listed, [os.fspath(file) for file in detections])
            sources = iter(listed)
        else:
            # Cached, because building a backbone takes seconds.
            reader = self._reader = self._reader or self._image_reader([], [])
        for batch in _groups(sources, batch_size):
            read = reader(batch)
            for fault in read.faults:
                if fault is not None:
                    raise InputError(f"{fault.source}: {fault.detail or fault.reason}")
            vectors.append(self._encoding.images(read.inputs))
        return self._checked(np.concatenate(vectors), "images")

    @property
    def inputs(self) -> InputSpec:
        """Inputs of the image encoder, computed from records or image files."""
        return self.trained_on.inputs

    @property
    def feature_size(self) -> int:
        """Size of the stored vectors, or rows, that the image encoder reads."""
        size: int = self.model.get_config()["feature_size"]
        return size

    def check_records(self, records: Records) -> None:
        """Raises `InputError` unless records have features computed like those of the training."""
        check_trained_records(records, self.trained_on)

    def encode_inputs(self, batch: Mapping[str, tf.Tensor]) -> np.ndarray:
        """Encodes a batch of `inputs`, B first, to float32[B, D]; ignores further tensors."""
        return self._encoding.images(batch)

    def encode_records(
        self, records: Records | str | Path, split: str, batch_size: int = ENCODED_AT_ONCE
    ) -> tuple[list[str], np.ndarray, list[list[str]]]:
        """Encodes the images of a split of `captions` records.

        Args:
            records: opened records, or their folder.
            split: split of the records.
            batch_size: images that are encoded at once.

        Returns:
            The names of the images, their vectors float32[N, D], and the captions of each.

        Raises:
            InputError: the records or the split do not exist, or their features are missing or were
                computed in another way than those of the training.
        """
        _check_batch_size(batch_size)
        if not isinstance(records, Records):
            records = captions.open_captions(os.fspath(records))
        own = self.trained_on
        batches = image_batches(
            records, split, (own,), own.inputs, own.signature, batch_size=batch_size
        )
        count_pairs(records, split, own.inputs.stored)  # refuses missing features
        names, vectors = self._encoding.image_batches(batches)
        return names, self._checked(vectors, f"images of {records.folder}"), _texts(records, split)

    def _image_reader(self, images: Sequence[GivenImage], detections: Sequence[str]) -> Any:
        own = self.trained_on
        return captioner_image_reader((own,), own.inputs, images, detections, self.weights)

    def _ids(self, text: str, number: int) -> list[int]:
        """Returns the ids of a sentence, as the encoder reads them."""
        ids = self._word_ids(text)
        shown = f"sentence {number}, {text[:_SHOWN]!r}"
        if not ids:
            raise InputError(f"{shown}: it contains no word; give a text with words")
        if set(ids) == {self.vocabulary.unk_id}:
            raise InputError(
                f"{shown}: none of its words is in the vocabulary of {self.path}; use other words, "
                "or a run whose training captions contain them"
            )
        return encoder_ids(ids, self.pair_options)

    def _word_ids(self, text: str) -> list[int]:
        """Returns the ids of the words of a sentence, without markers."""
        words = RULES[self.rule].split(Caption(text=text), self.vocabulary.segmenter)
        # Markers are not words, even if they occur in the text.
        return self.vocabulary.encode(
            [UNK if word in (PAD, START, END) else word for word in words]
        )

    def _checked(self, vectors: np.ndarray, what: str) -> np.ndarray:
        """Returns vectors; raises `InputError` unless all are finite."""
        if damaged := int((~np.isfinite(vectors).all(axis=1)).sum()):
            raise InputError(
                f"{damaged} of {len(vectors)} vectors of {what} are not finite: the features, or "
                f"the weights of {self.path}, are damaged"
            )
        return vectors


def load_embedding(path: str | Path, weights: str | None = None) -> RetrievalRun:
    """Loads a run of a visual-semantic embedding.

    Args:
        path: run folder of a stage or of an experiment.
        weights: see `RetrievalRun`.

    Raises:
        InputError: the run is of another kind; or see `RetrievalRun`.
        TrainingError: see `RetrievalRun`.
    """
    folder = RunFolder(path)
    if folder.stage not in RETRIEVAL_STAGES:
        raise InputError(
            f"{folder.path} is a run of stage {folder.stage}: expected that of a visual-semantic "
            f"embedding ({', '.join(RETRIEVAL_STAGES)}), which r2m-train-retrieval makes"
        )
    return RetrievalRun(folder, weights=weights)


def sentences_file(records: Records) -> bytes:
    """Returns the contents of `sentences.json`: the rule that split the sentences of records."""
    return sentence_rule(records.manifest["options"].get(_RULE, "neuraltalk"))


def sentence_rule(name: str) -> bytes:
    """Returns the contents of `sentences.json` for a key of `captions.words.RULES`."""
    return (json.dumps({_RULE: name}) + "\n").encode()


def _read_rule(folder: Path) -> str:
    file = folder / SENTENCES_FILE
    try:
        rule: str = json.loads(file.read_text(encoding="utf-8"))[_RULE]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is missing or damaged: {folder} is not the run of an embedding"
        ) from error
    if rule not in RULES:
        raise InputError(f"{file}: {_RULE} {rule!r} is not known; known: {', '.join(RULES)}")
    return rule


def _texts(records: Records, split: str) -> list[list[str]]:
    """Returns the captions of each image of a split, in the order of the records."""
    parse = captions.parser(records, ("texts",))
    lines = tf.data.TFRecordDataset(records.shards(split)).batch(1024)
    return [
        [text.decode() for text in row.tolist()]
        for batch in lines.map(lambda line: parse(line)["texts"])
        for row in batch.numpy()
    ]


def _groups(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    group: list[Any] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _check_batch_size(batch_size: int) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size={batch_size!r}: must be a whole number, at least 1")


def refuse_caption_settings(folder: RunFolder, given: Iterable[str]) -> None:
    """Raises `InputError`, with names, if captioning settings are given for an embedding."""
    if names := list(given):
        raise InputError(
            f"{folder.path} is a run of a visual-semantic embedding, which generates no captions: "
            f"leave out {', '.join(names)}"
        )
