"""Fixtures of small records with known content."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrecords.builders.corpora.build import CorporaOptions, build_corpora
from tfrecords.builders.images.build import ImagesOptions, build_images
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.formats.text.reading import parse_source
from tfrecords.pictures.feature_options import BackboneOptions

CLASSES = ("dog", "cat", "boat", "tree", "kite")
FILLERS = ("small", "red", "old", "quiet", "shiny", "wet", "tall")
IMAGES = 23


@pytest.fixture(scope="session")
def corpora_folder(tmp_path_factory) -> Path:
    """301 sentences of 3 to 14 words about one or two concepts each."""
    folder = tmp_path_factory.mktemp("corpora")
    random = np.random.RandomState(0)
    lines: set[str] = set()
    while len(lines) < 301:
        first, second = random.choice(CLASSES, 2)
        number = random.choice(["a", "two"])
        noun = first + "s" if number == "two" else first
        words = [number, noun, "near", "the", second, *random.choice(FILLERS, random.randint(9))]
        lines.add(" ".join(words[: random.randint(3, 15)]))
    (folder / "text.txt").write_text("\n".join(sorted(lines)) + "\n")
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    build_corpora(
        CorporaOptions(
            folder=folder / "records",
            name="toy",
            sources=[parse_source(str(folder / "text.txt"))],
            label_maps=[folder / "classes.txt"],
            min_count=1,
            min_words=3,
            validation_fraction=0.1,
            shards=3,
        ),
        progress=False,
    )
    return folder / "records"


@pytest.fixture(scope="session")
def images_folder(tmp_path_factory, corpora_folder) -> Path:
    """23 images (17 train, 6 val) with one to four concepts and stored features."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "images").mkdir()
    random = np.random.RandomState(1)
    annotations, names = [], [f"{i:02}.png" for i in range(IMAGES)]
    for i, name in enumerate(names):
        Image.fromarray(random.randint(0, 255, (40, 48, 3), np.uint8)).save(
            folder / "images" / name
        )
        for category in random.choice(len(CLASSES), random.randint(1, 5), replace=False):
            score = round(float(random.uniform(0.4, 1)), 3)
            annotations += [
                {"image_id": i, "category_id": int(category), "bbox": [1, 2, 9, 8], "score": score}
            ] * random.randint(1, 4)
    detections = {
        "images": [
            {"id": i, "file_name": name, "width": 48, "height": 40} for i, name in enumerate(names)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": annotations,
    }
    (folder / "detections.json").write_text(json.dumps(detections))
    (folder / "train.txt").write_text("\n".join(names[:17]))
    (folder / "val.txt").write_text("\n".join(names[17:]))
    texts = [f"{name}#{i}\ta {CLASSES[i]} of {name}" for name in names[17:] for i in range(2)]
    (folder / "captions.token.txt").write_text("\n".join(texts) + "\n")
    build_images(
        ImagesOptions(
            folder=folder / "records",
            name="toy",
            images=folder / "images",
            detections=(DetectionSource(path=folder / "detections.json"),),
            corpora=corpora_folder,
            splits={split: folder / f"{split}.txt" for split in ("train", "val")},
            references=folder / "captions.token.txt",
            backbone=BackboneOptions(name="VGG16", weights="none", image_size=32),
            shards=2,
        ),
        progress=False,
    )
    return folder / "records"
