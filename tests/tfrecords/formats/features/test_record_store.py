"""Records of every kind that has features, as a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfrecords.builders.features.descriptions import raw_feature
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example
from tfrecords.core.records import Records
from tfrecords.core.writer import write_dataset
from tfrecords.formats.features.opening import open_feature_store

VECTORS = {name: np.full(4, i, "<f2") for i, name in enumerate(("s1/0.png", "s2/0.png", "42.png"))}


def records(folder: Path, kind: str, options: dict[str, Any], **features: Any) -> Records:
    """Records of the three images with a value per feature, or one for all."""

    def job() -> Iterator[bytes]:
        for name in VECTORS:
            row = {key: value[name] if key == "global_feature" else value for key, value in
                   features.items()}  # fmt: skip
            yield encode_example({"image_id": name, **row})

    described = {
        "image_id": tfds.features.Text(),
        "global_feature": raw_feature((4,), "float16"),
        "grid_feature": raw_feature((1, 2, 3), "float16"),
        "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
        "sentence": tfds.features.Text(),
    }
    (folder.parent / "source").touch()
    return write_dataset(
        folder=folder,
        kind=kind,
        name="test",
        splits={"train": [job]},
        features=tfds.features.FeaturesDict(
            {name: described[name] for name in ("image_id", *features)}
        ),
        options=options,
        sources=[folder.parent / "source"],
        progress=False,
    )


def test_images_records(tmp_path: Path):
    """Their manifests do not name the size of the vectors, and their boxes are of concepts."""
    built = records(
        tmp_path / "images",
        "images",
        {"feature_dtype": "float16", "grid_shape": [1, 2, 3]},
        global_feature={name: vector.tobytes() for name, vector in VECTORS.items()},
        grid_feature=np.ones((1, 2, 3), "<f2").tobytes(),
        boxes=np.ones((2, 4), np.float32),
    )
    store = open_feature_store(str(built.folder))
    assert store.shapes == {"global_feature": (4,), "grid_feature": (1, 2, 3)}
    assert not store.has_boxes
    found = store.get("images/s2/0.png")
    np.testing.assert_array_equal(found.global_feature, VECTORS["s2/0.png"])
    assert found.grid_feature.shape == (1, 2, 3)
    assert (found.height, found.width, found.boxes) == (None, None, None)
    assert store.get("COCO_val2014_000000000042.jpg").global_feature[0] == 2
    with pytest.raises(InputError, match=r"may be any of 's1/0\.png', 's2/0\.png'"):
        store.get("0.png")


@pytest.mark.parametrize("kind", ["images", "captions", "corpora"])
def test_records_without_features(kind: str, tmp_path: Path):
    built = records(tmp_path / kind, kind, {"feature_dtype": None}, sentence="a dog")
    message = (
        rf"contains '{kind}' records with image_id, sentence; expected features, captions, images "
        "records with one of global_feature"
    )
    with pytest.raises(InputError, match=message):
        open_feature_store(f"records:{built.folder}")


@pytest.mark.parametrize("orientation", [{}, {"orientation": "upright"}])
def test_records_from_before_orientation_was_read(
    orientation: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    options = {"feature_dtype": "float16", "feature_size": 4, "backbone": {"name": "VGG16"}}
    vectors = {name: vector.tobytes() for name, vector in VECTORS.items()}
    built = records(tmp_path / "f", "features", options | orientation, global_feature=vectors)
    assert open_feature_store(str(built.folder)).get("42").global_feature[0] == 2
    assert ("built before EXIF orientation was read" in caplog.text) == (not orientation)
