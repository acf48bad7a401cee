"""Detections refined by those of similar images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from concept_records import CLASSES, DICTIONARY, SENTENCES, write_toy_records
from hypothesis import given
from hypothesis import strategies as st

from tfrecords.builders.detections.refine import RefineOptions, refine_detections
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example
from tfrecords.core.writer import write_dataset
from tfrecords.formats.detections.image_concepts import image_concepts
from tfrecords.formats.detections.reading import DetectionSource, read_boxes, read_detections
from tfrecords.formats.features.nearest import nearest_rows

# Angles of the images' vectors in degrees: a, b and c are similar, d and e as well.
TRAIN, NEW = {"a": 0, "b": 10, "c": 20, "d": 90, "e": 95}, {"x": 12}
OBJECTS = {
    "a": [("dog", 0.8), ("dog", 0.5), ("dog", 0.2)],
    "b": [("dog", 0.6), ("boat", 0.3)],
    "c": [("dog", 0.9)],
    "d": [("boat", 0.7)],
    "e": [("boat", 0.9), ("car", 0.4)],
    "x": [("boat", 0.4)],
}
TAGS = {"a": [("person", 0.5)], "b": [("person", 0.3)], "c": [("person", 0.02)], "x": []}


def write_vectors(folder: Path, splits: Mapping[str, Mapping[str, float]]) -> Path:
    def rows(split: Mapping[str, float]) -> Any:
        for name, angle in split.items():
            vector = 3 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
            stored = vector.astype("<f4").tobytes()
            yield encode_example({"image_id": f"{name}.jpg", "global_feature": stored})

    source = folder.parent / "source.txt"
    source.write_text("vectors")
    write_dataset(
        folder=folder,
        kind="features",
        name="toy",
        splits={name: [partial(rows, split)] for name, split in splits.items()},
        features=tfds.features.FeaturesDict(
            {"image_id": tfds.features.Text(), "global_feature": tfds.features.Text()}
        ),
        options={"feature_dtype": "float32", "feature_size": 2},
        sources=[source],
        progress=False,
    )
    return folder


def write_found(path: Path, found: Mapping[str, list[tuple[str, float]]], tags: bool) -> Path:
    numbers = {name: number for number, name in enumerate(found, 1)}
    rows = [
        {
            "image_id": numbers[name],
            "category_id": CLASSES.index(word) + 1,
            "bbox": [0, 0, 40, 30] if tags else [4 * place, 3, 20, 15],
            "score": score,
        }
        for name, objects in found.items()
        for place, (word, score) in enumerate(objects)
    ]
    images = [
        {"id": i, "file_name": f"{name}.jpg", "width": 40, "height": 30}
        for name, i in numbers.items()
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": rows}))
    return path


@pytest.fixture
def options(tmp_path: Path) -> RefineOptions:
    write_toy_records(
        tmp_path / "corpora", "corpora", SENTENCES, counts=dict.fromkeys(DICTIONARY.words, 5)
    )
    return RefineOptions(
        folder=tmp_path / "refined",
        features=write_vectors(tmp_path / "features", {"train": TRAIN, "val": NEW}),
        gallery_split="train",
        detections=(
            DetectionSource(path=write_found(tmp_path / "o.json", OBJECTS, False), min_score=0.1),
            DetectionSource(path=write_found(tmp_path / "t.json", TAGS, True), min_score=0.1),
        ),
        corpora=tmp_path / "corpora",
        neighbors=2,
        neighbor_weight=0.75,
        min_score=0.05,
    )


def found_scores(folder: Path) -> dict[str, list[tuple[str, float]]]:
    return {
        image.name: [
            (name.removeprefix("concept:"), round(float(score), 4))
            for name, score in zip(image.found.class_names, image.found.scores, strict=True)
        ]
        for image in read_boxes(folder, None)
    }


def test_scores_are_weighted_means_over_similar_images(options: RefineOptions) -> None:
    records = refine_detections(options, progress=False)
    found = found_scores(records.folder)
    # x is most similar to b and c: boat 0.25 * 0.4 + 0.75 * (0.3 + 0) / 2, dog 0.75 * 0.75, and
    # person 0.75 * 0.3 / 2, as the 0.02 of c is below the minimum.
    assert found["x.jpg"] == [("dog", 0.5625), ("boat", 0.2125), ("person", 0.1125)]
    # a is not its own neighbor. Two of its dogs count; the third one has less than half the score
    # of the best one.
    dog = 0.25 * 0.8 + 0.75 * (0.6 + 0.9) / 2
    person = 0.25 * 0.5 + 0.75 * 0.3 / 2
    assert found["a.jpg"] == [
        ("dog", round(dog, 4)), ("dog", round(dog, 4)), ("person", round(person, 4)),
        ("boat", 0.1125),
    ]  # fmt: skip
    boxes = {image.name: image.found.boxes for image in read_boxes(records.folder, None)}
    np.testing.assert_allclose(boxes["a.jpg"][:2, 1], [0, 0.1], atol=1e-6)
    # Nothing in x was detected as a dog, so the box is the whole image; its boat has a box.
    np.testing.assert_allclose(boxes["x.jpg"], [[0, 0, 1, 1], [0.1, 0, 0.6, 0.5], [0, 0, 1, 1]])
    assert {image.height for image in read_boxes(records.folder, None)} == {30}
    # A box among them: they are objects, of which several count.
    merged = read_detections([DetectionSource(path=records.folder)], names=["x.jpg"])
    assert not merged["x.jpg"].is_tag.any()


def test_new_images_are_compared_with_a_gallery(options: RefineOptions, tmp_path: Path) -> None:
    together = found_scores(refine_detections(options, progress=False).folder)
    new = replace(
        options,
        folder=tmp_path / "new",
        features=write_vectors(tmp_path / "new_features", {"photos": NEW}),
        gallery=options.features,
    )
    assert found_scores(refine_detections(new, progress=False).folder) == {
        "x.jpg": together["x.jpg"]
    }


def test_without_weight_of_neighbors_scores_stay(options: RefineOptions) -> None:
    own = replace(options, neighbor_weight=0.0)
    found = found_scores(refine_detections(own, progress=False).folder)
    assert found["e.jpg"] == [("boat", 0.9), ("car", 0.4)]
    assert found["b.jpg"] == [("dog", 0.6), ("boat", 0.3), ("person", 0.3)]


def test_a_box_remains_beside_a_label_of_the_same_concept(options: RefineOptions) -> None:
    label = DetectionSource(
        path=write_found(options.folder.parent / "dog.json", {"c": [("dog", 0.95)]}, True),
        weight=0.5,
    )
    for sources in ((*options.detections, label), (label, *options.detections)):
        refined = replace(options, detections=sources, neighbor_weight=0.0, overwrite=True)
        records = refine_detections(refined, progress=False)
        # The label's 0.95 counts half, so the object's 0.9 is the highest score.
        assert found_scores(records.folder)["c.jpg"] == [("dog", 0.9)]
        boxes = {image.name: image.found.boxes for image in read_boxes(records.folder, None)}
        np.testing.assert_allclose(boxes["c.jpg"], [[0.1, 0, 0.6, 0.5]])


def test_refined_concepts_are_not_mapped_again(options: RefineOptions, tmp_path: Path) -> None:
    # As `ski` of COCO, which is both ski and snow.
    dictionary = replace(DICTIONARY, classes={**DICTIONARY.classes, "dog": ("dog", "person")})
    write_toy_records(
        tmp_path / "both", "corpora", SENTENCES, dictionary=dictionary,
        counts=dict.fromkeys(dictionary.words, 5),
    )  # fmt: skip
    refined = replace(options, corpora=tmp_path / "both", neighbor_weight=0.0)
    records = refine_detections(refined, progress=False)
    source = DetectionSource(path=records.folder, min_score=0.01)
    concepts = {
        name: {(one.word, round(one.score, 4), one.count) for one in concepts}
        for name, found in read_detections([source]).items()
        if (concepts := image_concepts(found, dictionary, sources=[source]))
    }
    assert concepts["b.jpg"] == {("dog", 0.6, 1), ("person", 0.6, 1), ("boat", 0.3, 1)}
    assert concepts["a.jpg"] == {("dog", 0.8, 2), ("person", 0.8, 2)}
    assert dictionary.concepts_of_class("concept:unicorn") == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neighbors": 5}, "has 5 images to compare with: 5 neighbors require more"),
        ({"neighbors": 0}, "neighbors=0 must be at least 1"),
        ({"neighbor_weight": 1.5}, r"neighbor_weight=1.5 must be in 0..1"),
        ({"min_score": float("nan")}, r"min_score=nan must be in 0..1"),
        ({"gallery_split": "test"}, "test"),
    ],
)
def test_unusable_options_are_refused(
    options: RefineOptions, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        refine_detections(replace(options, **changes), progress=False)
    assert not options.folder.exists()


def test_unusable_vectors_are_refused(options: RefineOptions, tmp_path: Path) -> None:
    damaged = write_vectors(tmp_path / "damaged", {"photos": {"a": 0, "b": float("nan"), "c": 1}})
    with pytest.raises(InputError, match=r"image 'b\.jpg' is zero or not finite"):
        refine_detections(replace(options, features=damaged), progress=False)
    with pytest.raises(InputError, match="expected features, captions, images records"):
        refine_detections(replace(options, features=options.corpora), progress=False)
    others = {name: [("dog", 0.9)] for name in ("p", "q")}
    elsewhere = DetectionSource(path=write_found(tmp_path / "other.json", others, False))
    with pytest.raises(InputError, match="contain none of the 6 images"):
        refine_detections(replace(options, detections=(elsewhere,)), progress=False)
    new = DetectionSource(path=write_found(tmp_path / "new.json", {"x": [("dog", 0.9)]}, False))
    with pytest.raises(InputError, match="contain no image of the gallery"):
        refine_detections(replace(options, detections=(new,)), progress=False)
    heavy = replace(options.detections[0], weight=3.0)
    with pytest.raises(InputError, match=r"weight 3 must be in 0\.\.1"):
        refine_detections(replace(options, detections=(heavy,)), progress=False)
    same_name = write_vectors(tmp_path / "same", {"photos": {"a": 45}})
    with pytest.raises(InputError, match=r"image 'a\.jpg' of .*same is another one"):
        refine_detections(
            replace(options, features=same_name, gallery=options.features), progress=False
        )


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(0, 6))
def test_nearest_rows_are_the_most_similar_ones(seed: int, count: int, own: int) -> None:
    random = np.random.default_rng(seed)
    gallery, vectors = random.normal(size=(7, 3)), random.normal(size=(300, 3))
    own_rows = [own if place % 2 else -1 for place in range(300)]
    batches = nearest_rows(vectors, gallery, count, own_rows)
    for place, rows in enumerate(row for batch, _ in batches for row in batch):
        similarities = gallery @ vectors[place]
        if own_rows[place] >= 0:
            similarities[own] = -np.inf
        assert set(rows) == set(np.argsort(-similarities)[:count])
