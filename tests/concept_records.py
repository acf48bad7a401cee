"""Tiny records of images and sentences with chosen concepts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tfrecords.core.examples import encode_example
from tfrecords.core.records import CONCEPTS, VOCABULARY, Records
from tfrecords.core.vocabulary import Vocabulary, build_vocabulary
from tfrecords.core.writer import write_dataset
from tfrecords.language.concepts import ConceptDictionary, build_concept_dictionary
from tfrecords.language.label_maps import LabelMap

# No word can be taken from the name of the last class.
CLASSES = ("person", "dog", "car", "boat", "???")
DICTIONARY = build_concept_dictionary([LabelMap("toy", dict(enumerate(CLASSES, 1)))], synonyms=[])

# Concepts of each record, by split. The numbers that tests expect are counted by hand.
IMAGES = {
    "train": ["dog person", "person dog", "car person", "car"],
    "val": ["", "boat person dog"],
}
SENTENCES = {
    "train": ["person", "person dog", "dog car person", "dog", "person", ""],
    "val": ["boat"],
}


def toy_vocabulary(*more: str) -> Vocabulary:
    """Returns the vocabulary of the records, with further words."""
    return build_vocabulary({"a": 9, **dict.fromkeys([*DICTIONARY.words, *more], 4)}, min_count=1)


def write_toy_records(
    folder: Path,
    kind: str,
    splits: Mapping[str, Sequence[str]],
    *,
    vocabulary: Vocabulary | None = None,
    dictionary: ConceptDictionary = DICTIONARY,
    counts: Mapping[str, int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Records:
    """Writes records whose only features are the named concepts, and an image id for images."""
    words = vocabulary or toy_vocabulary()

    def shard(rows: Sequence[str]) -> Any:
        for number, row in enumerate(rows):
            ids = np.array([words.id_of(word) for word in row.split()], np.int64)
            name = {"image_id": f"{number}.png"} if kind == "images" else {}
            yield encode_example({"concepts": ids, **name})

    features: dict[str, Any] = {"concepts": tfds.features.Sequence(np.int64)}
    if kind == "images":
        features["image_id"] = tfds.features.Text()
    content = json.loads(dictionary.to_json())
    content["counts"] = dict(counts or {"boat": 1, "car": 1, "dog": 3, "person": 4})
    return write_dataset(
        folder=folder,
        kind=kind,
        name="toy",
        splits={split: [lambda rows=rows: shard(rows)] for split, rows in splits.items()},
        features=tfds.features.FeaturesDict(features),
        options=dict(options or {}),
        sources=[],
        extra_files={VOCABULARY: words.file_bytes, CONCEPTS: json.dumps(content)},
        progress=False,
    )
