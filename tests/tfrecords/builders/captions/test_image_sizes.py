"""Boxes in pixels whose store knows no image sizes, in caption records that know them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.builders.captions.image_sizes import image_size, upright_features
from tfrecords.builders.features.build import FeatureRecordsOptions, build_features
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.formats.features.opening import open_feature_store
from tfrecords.formats.features.types import StoredFeatures
from tfrecords.formats.paired.reading import PairedSource
from tfrecords.pictures.headers import ImageHeader

HEIGHT, WIDTH = 60, 120
# x1, y1, x2, y2 in pixels.
CORNERS = np.tile(np.float32([30, 6, 60, 54]), (3, 1))
BOX = [0.1, 0.25, 0.9, 0.5]
TURNED = 6
"""EXIF orientation of a camera that was held upright."""


@pytest.fixture
def features(tmp_path: Path) -> str:
    """Meshed-Memory's layout."""
    path = tmp_path / "m2.hdf5"
    with h5py.File(path, "w") as file:
        for i in range(3):
            file[f"{i}_features"] = np.full((3, 5), i, np.float32)
            file[f"{i}_boxes"] = CORNERS
    return str(path)


def build(
    folder: Path, features: str, *, sizes: int = 3, height: int = HEIGHT, **changes: Any
) -> Records:
    """Builds records of three images; the captions tell the sizes of the first `sizes`."""
    folder.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = [
        {"filename": f"{i}.png", "imgid": i, "split": "train", "sentences": [{"raw": "a dog"}]}
        for i in range(3)
    ]
    for row in rows[:sizes]:
        row |= {"height": height, "width": WIDTH}
    (folder / "dataset.json").write_text(json.dumps({"images": rows}))
    options = CaptionsOptions(
        folder=folder / "records",
        captions=(PairedSource(str(folder / "dataset.json")),),
        store=open_feature_store(features),
        min_count=1,
    )
    return build_captions(replace(options, **changes), progress=False)


def stored(records: Records) -> dict[str, StoredFeatures]:
    store = open_feature_store(str(records.folder))
    found = {name: store.get(name) for name in store.keys()}  # noqa: SIM118 - no dict
    return {name: features for name, features in found.items() if features is not None}


def test_sizes_that_the_captions_tell(features: str, tmp_path: Path) -> None:
    records = build(tmp_path / "known", features)
    assert records.manifest["options"]["boxes_by_image_size"] is True
    for found in stored(records).values():
        np.testing.assert_allclose(found.boxes, [BOX] * 3, rtol=1e-6)


@pytest.mark.parametrize(("sizes", "named"), [(0, r"3 images ('0.png', '1.png', ...)"),
                                              (2, "1 image ('2.png')")])  # fmt: skip
def test_sizes_that_nothing_tells(
    sizes: int, named: str, features: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Boxes that are left out are not held against the sizes.
    records = build(tmp_path / "unknown", features, sizes=sizes, height=HEIGHT // 2)
    assert records.count("train") == 3 and "boxes" not in records.feature_names
    assert "boxes_by_image_size" not in records.manifest["options"]
    assert f"no source has the sizes of {named}: boxes are left out" in caplog.text
    if not sizes:
        options = FeatureRecordsOptions(folder=tmp_path / "f", store=open_feature_store(features))
        assert "boxes" not in build_features(options, progress=False).feature_names
        assert "the sizes of 3 images ('0', '1', ...)" in caplog.text


def test_sizes_of_the_pictures(features: str, tmp_path: Path) -> None:
    """One is turned upright, and its boxes fit into the turned picture only."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = TURNED
    for i, size in enumerate([(WIDTH, HEIGHT), (HEIGHT, WIDTH), (20, 10)]):
        picture = Image.new("RGB", size)
        picture.save(folder / f"{i}.png", **({"exif": exif} if i == 1 else {}))
    records = build(tmp_path / "pixels", features, sizes=0, images=(folder,))
    found = stored(records)
    assert list(found) == ["0.png", "1.png"] or list(found) == ["1.png", "0.png"]
    for features_of_one in found.values():
        np.testing.assert_allclose(features_of_one.boxes, [BOX] * 3, rtol=1e-6)
        assert (features_of_one.height, features_of_one.width) == (HEIGHT, WIDTH)
    (skip,) = records.manifest["skipped"]["list"]
    assert skip["reason"] == "no_features"
    assert "reach 60 x 54 pixels, but the image has 20 x 10" in skip["detail"]
    assert "sizes=FILE" in skip["detail"]


def test_boxes_of_a_detector_that_ignores_orientation() -> None:
    """The rows lie on their side: the box ends at their left, the lower edge of the picture."""
    picture = ImageHeader(height=WIDTH, width=HEIGHT, pixels=0, orientation=TURNED)
    regions = np.zeros((1, 4), np.float32)
    corners = np.float32([[12, 30, 108, 60]])
    expected = [[0.1, 0, 0.9, 0.5]]
    found = upright_features(
        StoredFeatures(region_feature=regions, corners=corners), (WIDTH, HEIGHT), picture, "image"
    )
    np.testing.assert_allclose(found.boxes, expected, atol=1e-6)
    # The store tells the size of the rows.
    boxes = corners[:, [1, 0, 3, 2]] / [HEIGHT, WIDTH, HEIGHT, WIDTH]
    rows = StoredFeatures(region_feature=regions, boxes=boxes, height=HEIGHT, width=WIDTH)
    again = upright_features(rows, (0, 0), picture, "image")
    np.testing.assert_allclose(again.boxes, expected, atol=1e-6)
    assert (again.height, again.width) == (found.height, found.width) == (WIDTH, HEIGHT)
    assert upright_features(rows, (0, 0), None, "image") is rows
    with pytest.raises(InputError, match=r"image: its boxes reach 108 x 60 pixels, but .* 60 x"):
        upright_features(
            StoredFeatures(region_feature=regions, corners=corners), (60, 60), None, "image"
        )


def test_size_of_a_picture_and_of_its_copy() -> None:
    picture = ImageHeader(height=WIDTH, width=HEIGHT, pixels=0, orientation=TURNED)
    assert image_size((0, 0), picture) == (WIDTH, HEIGHT)
    assert image_size((HEIGHT, WIDTH), picture) == (WIDTH, HEIGHT)
    assert image_size((480, 240), picture) == (480, 240)
    assert image_size((480, 240), None) == (480, 240)
    assert image_size((0, 0), None) == (0, 0)
