"""Image batches: features or pixels, order, resume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipelines import images
from pipelines.inputs.concepts import Concepts
from pipelines.inputs.global_vector import GlobalVector
from pipelines.inputs.pixels import Pixels
from pipelines.inputs.spec import InputSpec
from tfrecords.builders.images.build import ImagesOptions, build_images
from tfrecords.core.errors import InputError
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions, ViewOptions

CONCEPTS = Concepts(max_concepts=3)
FEATURES = InputSpec((CONCEPTS, GlobalVector()))
PIXELS = InputSpec((CONCEPTS, Pixels(resize=36, crop=32, antialias=False)))


@pytest.fixture(scope="module")
def records(images_folder):
    return images.open_images(str(images_folder))


def _batches(records, count, inputs, first_step=0, seed=5):
    dataset = images.training_batches(
        records, inputs, batch_size=5, seed=seed, first_step=first_step
    )
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


@pytest.mark.parametrize("options", [FEATURES, PIXELS], ids=["features", "pixels"])
@pytest.mark.parametrize("first_step", [2, 5])
def test_batches_depend_on_their_number_only(records, options, first_step):
    whole = _batches(records, first_step + 3, options)
    for a, b in zip(whole[first_step:], _batches(records, 3, options, first_step), strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_features_are_those_of_the_records(records):
    batches = _batches(records, 4, FEATURES)
    size = images.feature_size(records)
    rows = np.concatenate([batch["global"] for batch in batches])
    assert rows.shape == (17, size)
    assert rows.dtype == np.float32
    assert len(np.unique(rows, axis=0)) == 17


def test_pixels_are_random_crops_in_training_and_center_crops_in_validation(records):
    first, again = (_batches(records, 8, PIXELS)[i : i + 4] for i in (0, 4))
    for batch in first:
        assert batch["pixels"].shape[1:] == (32, 32, 3)
        assert batch["pixels"].min() >= 0
        assert batch["pixels"].max() <= 255
        assert batch["pixels"].max() > 128
    # The next epoch has the same images with different crops.
    sums = [
        np.sort(np.concatenate([b["pixels"].sum((1, 2, 3)) for b in part]))
        for part in (first, again)
    ]
    assert not np.allclose(*sums)
    validation = [
        next(images.image_batches(records, "val", PIXELS, batch_size=6).as_numpy_iterator())[
            "pixels"
        ]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*validation)
    assert validation[0].shape == (6, 32, 32, 3)


def test_captioning_batches_keep_the_best_concepts_last(records):
    examples = {e["image_id"]: e for e in images.examples(records, "val")}
    assert len(examples) == 6
    # The records are those of an earlier build.
    assert {example["source_id"] for example in examples.values()} == {""}
    (batch,) = images.image_batches(
        records, "val", InputSpec((CONCEPTS,)), batch_size=10
    ).as_numpy_iterator()
    for name, row, length in zip(
        batch["image_id"], batch["concepts"], batch["concept_lengths"], strict=True
    ):
        example = examples[name.decode()]
        assert list(np.diff(example["concept_scores"]) >= 0) == [True] * (
            len(example["concepts"]) - 1
        )
        assert row[:length].tolist() == example["concepts"][-3:].tolist()
        assert [text.split()[-1] for text in example["texts"]] == [name.decode()] * 2


def test_training_images_carry_no_references(records):
    assert not any(example["texts"] for example in images.examples(records, "train"))


def test_an_impossible_crop_is_refused():
    with pytest.raises(ValueError, match=r"crop \(11\) must be at least 1 and at most resize"):
        Pixels(resize=10, crop=11)


def test_records_without_features_say_what_to_do(records):
    bare = images.open_images(str(records.folder))
    bare.manifest["features"] = ["concepts", "concept_counts"]
    with pytest.raises(InputError, match="--backbone"):
        FEATURES.check(bare)
    with pytest.raises(InputError, match="--store_pixels"):
        PIXELS.check(bare)


def test_training_draws_views_of_vectors(images_folder, corpora_folder, tmp_path):
    source = images_folder.parent
    built = build_images(
        ImagesOptions(
            folder=tmp_path / "records",
            images=source / "images",
            detections=(DetectionSource(path=source / "detections.json"),),
            corpora=corpora_folder,
            splits={split: source / f"{split}.txt" for split in ("train", "val")},
            backbone=BackboneOptions(name="VGG16", weights="none", image_size=32),
            features=FeatureOptions(views=ViewOptions(count=2)),
            shards=2,
        ),
        progress=False,
    )
    (whole,) = images.image_batches(built, "train", FEATURES, batch_size=17)
    (wanted,) = images.image_batches(
        images.open_images(str(images_folder)), "train", FEATURES, batch_size=17
    )
    np.testing.assert_allclose(whole["global"], wanted["global"], rtol=2e-3, atol=1e-3)
    drawn = _batches(built, 12, FEATURES)
    rows = np.concatenate([batch["global"] for batch in drawn])
    assert 17 < len(np.unique(rows, axis=0)) <= 17 * 3
    itself = (rows[:, None] == np.array(whole["global"])).all(-1).any(1)
    assert 0.15 < itself.mean() < 0.55
    for one, again in zip(drawn[5:], _batches(built, 3, FEATURES, 5), strict=False):
        np.testing.assert_array_equal(one["global"], again["global"])


def test_features_may_be_single_precision(images_folder, corpora_folder, tmp_path):
    source = images_folder.parent
    built = build_images(
        ImagesOptions(
            folder=tmp_path / "records",
            images=source / "images",
            detections=(DetectionSource(path=source / "detections.json"),),
            corpora=corpora_folder,
            splits={"train": source / "train.txt"},
            backbone=BackboneOptions(name="VGG16", weights="none", image_size=32),
            features=FeatureOptions(dtype="float32"),
            seed=0,
        ),
        progress=False,
    )
    single, half = (
        np.concatenate([b["global"] for b in _batches(r, 4, FEATURES)])
        for r in (built, images.open_images(str(images_folder)))
    )
    assert single.shape == half.shape and single.dtype == np.float32
    single, half = (np.sort(rows.sum(1)) for rows in (single, half))
    np.testing.assert_allclose(single, half, rtol=1e-3)
    assert (single != half).any()
