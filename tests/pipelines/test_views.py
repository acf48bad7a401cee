"""Stored views of training images, and their use in training."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from pipelines import caption_batches
from pipelines.caption_batches import CaptionOptions
from pipelines.inputs.global_vector import GlobalVector
from pipelines.inputs.grid import Grid
from pipelines.inputs.spec import InputSpec
from pipelines.views import view_columns
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.core.errors import InputError
from tfrecords.core.examples import decode_example
from tfrecords.core.records import Records
from tfrecords.formats.paired.reading import PairedSource
from tfrecords.inspection import describe_example
from tfrecords.pictures.decoding import decode_image, decode_or_fault
from tfrecords.pictures.extraction import FeatureExtractor
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions, ViewOptions
from tfrecords.pictures.views import cut_view, random_views

NET = BackboneOptions(name="VGG16", weights="none", image_size=64, batch_size=4)
VIEWS = ViewOptions(count=2, seed=5)
BOTH = InputSpec((Grid(), GlobalVector()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name in "abcd":
        pixels = random.integers(0, 255, (90, 120, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "tokens.txt").write_text("".join(f"{name}.png#0\ta dog runs\n" for name in "abcd"))
    (folder / "train.txt").write_text("a.png\nb.png\nc.png\n")
    (folder / "val.txt").write_text("d.png\n")
    return folder


def build(folder: Path, output: str, **changes: Any) -> Records:
    options: dict[str, Any] = {
        "folder": folder / output,
        "captions": (PairedSource.parse(str(folder / "tokens.txt")),),
        "splits": {split: folder / f"{split}.txt" for split in ("train", "val")},
        "images": (folder,),
        "backbone": NET,
        "store_grid": True,
        "min_count": 1,
        "features": FeatureOptions(views=VIEWS),
        "shards": 1,
        **changes,
    }
    return build_captions(CaptionsOptions(**options), progress=False)


@pytest.fixture(scope="module")
def records(folder: Path) -> Records:
    return build(folder, "records")


def stored(records: Records, split: str) -> dict[str, dict[str, Any]]:
    """Returns the parsed records of a split, by image."""
    shards = tf.data.TFRecordDataset(records.shards(split))
    examples = map(decode_example, shards.as_numpy_iterator())
    return {example["image_id"][0].decode(): example for example in examples}


def numbers(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(data, "<f2").reshape(shape).astype(np.float32)


def test_features_of_views_are_stored_beside_those_of_the_image(
    folder: Path, records: Records
) -> None:
    assert records.manifest["options"]["views"] == {
        "count": 2, "least_area": 0.5, "mirror": True, "seed": 5
    }  # fmt: skip
    extractor = FeatureExtractor(NET)
    for name, example in stored(records, "train").items():
        data = (folder / name).read_bytes()
        pixels = decode_image(data)
        views = random_views(VIEWS, name, 90, 120, squashed=True)
        squares = [decode_or_fault(data, 64)]
        squares += [cut_view(pixels, view, 64, "bilinear") for view in views]
        wanted = extractor(np.stack(squares))
        for kind, rows in (("grid_feature", wanted.grid), ("global_feature", wanted.pooled)):
            found = [*example[kind], *example[f"{kind}_views"]]
            assert len(found) == 3
            for data, row in zip(found, rows, strict=True):
                np.testing.assert_allclose(
                    numbers(data, row.shape), row.astype(np.float32), rtol=2e-3, atol=1e-3
                )
        lines = [line for line in describe_example(example, records) if "views" in line[0]]
        assert len(lines) == 4 and all("float16" in text for _, text in lines)
    assert "grid_feature_views" not in stored(records, "val")["d.png"]
    builder = tfds.builder_from_directory(str(records.folder))
    for split, count in (("train", 2), ("val", 0)):
        for row in tfds.as_numpy(builder.as_dataset(split=split)):
            assert len(row["grid_feature_views"]) == count


def batches(records: Records, count: int, **changes: Any) -> list[dict[str, np.ndarray]]:
    options: dict[str, Any] = {"batch_size": 2, "seed": 3, **changes}
    dataset = caption_batches.training_batches(
        records, BOTH, CaptionOptions(captions_per_image=1), **options
    )
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def test_training_draws_a_view_per_image_and_epoch(records: Records) -> None:
    every = {
        (name, view): (numbers(grid, (4, 512)), numbers(vector, (512,)))
        for name, row in stored(records, "train").items()
        for view, (grid, vector) in enumerate(
            zip(
                [*row["grid_feature"], *row["grid_feature_views"]],
                [*row["global_feature"], *row["global_feature_views"]],
                strict=True,
            )
        )
    }
    whole = batches(records, 60)
    seen = []
    for batch in whole:
        for grid, vector in zip(batch["regions"], batch["global"], strict=True):
            # All features come from the same view.
            (found,) = [
                key
                for key, (cells, mean) in every.items()
                if np.array_equal(cells, grid) and np.array_equal(mean, vector)
            ]
            seen.append(found)
    epochs = [seen[i : i + 3] for i in range(0, len(seen), 3)]
    assert all({name for name, _ in epoch} == {"a.png", "b.png", "c.png"} for epoch in epochs)
    assert set(seen) == set(every)
    assert 0.2 < np.mean([view == 0 for _, view in seen]) < 0.5
    for first in (1, 7):
        for one, again in zip(whole[first:], batches(records, 4, first_step=first), strict=False):
            tf.nest.map_structure(np.testing.assert_array_equal, one, again)
    other = batches(records, 60, seed=4)
    assert any(
        (one["global"] != two["global"]).any() for one, two in zip(whole, other, strict=True)
    )


def test_all_else_is_shown_the_image_itself(folder: Path, records: Records) -> None:
    plain = build(folder, "plain", features=FeatureOptions())
    assert "views" not in plain.manifest["options"]
    for with_views, without in zip(
        batches(records, 4, views=False), batches(plain, 4), strict=True
    ):
        tf.nest.map_structure(np.testing.assert_array_equal, with_views, without)
    for split in ("train", "val"):
        read = [
            next(caption_batches.image_batches(each, split, BOTH, batch_size=3).as_numpy_iterator())
            for each in (records, plain)
        ]
        tf.nest.map_structure(np.testing.assert_array_equal, *read)


def test_features_without_views_are_not_mixed_with_those_of_views() -> None:
    held = ("global_feature", "global_feature_views", "region_feature", "boxes")
    records: Any = SimpleNamespace(
        feature_names=held, manifest={"options": {"views": {"count": 3}}}
    )
    assert list(view_columns(records, ("sentences", "global_feature"))) == ["global_feature_views"]
    assert not view_columns(records, ("global_feature", "region_feature"))
    assert not view_columns(records, ("region_feature", "boxes"))


def test_views_need_a_backbone_and_training_images(folder: Path) -> None:
    with pytest.raises(InputError, match="views require a backbone"):
        build(folder, "none", backbone=None, store_grid=False)
    with pytest.raises(InputError, match="require a split train, found only val"):
        build(folder, "none", splits={"val": folder / "val.txt"}, vocabulary_splits=("val",))
