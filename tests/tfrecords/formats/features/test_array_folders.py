"""Folders with a file per image, of several arrays each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfrecords.core.errors import InputError
from tfrecords.formats.features.opening import open_feature_store

REGIONS = np.random.default_rng(0).random((3, 6), np.float32)
BOXES = np.tile(np.float32([10, 5, 90, 25]), (3, 1))
STORED = [0.1, 0.1, 0.5, 0.9]


def test_several_arrays_in_a_file(tmp_path: Path):
    """OpenVQA's: a column of `x` per region."""
    (tmp_path / "train2014").mkdir()
    for number in (7, 42):
        path = tmp_path / "train2014" / f"COCO_train2014_{number:012}.jpg.npz"
        size = {"image_h": 50, "image_w": 100, "num_bbox": 3}
        np.savez(path, x=REGIONS.T * number, bbox=BOXES, cls_prob=REGIONS, **size)
    store = open_feature_store(f"folders:{tmp_path}")
    assert store.shapes == {"region_feature": (None, 6)} and store.has_boxes
    found = store.get("42")
    np.testing.assert_array_equal(found.region_feature, REGIONS * 42)
    np.testing.assert_allclose(found.boxes, [STORED] * 3, rtol=1e-6)
    assert (found.height, found.width) == (50, 100)


@pytest.mark.parametrize("name", ["features", "feature", "att_feats", "x", "z", "feat"])
def test_names_of_regions(name: str, tmp_path: Path):
    """X-modaler's `g_feature` is the vector of the image; padded rows are no regions."""
    padded = np.pad(REGIONS, ((0, 2), (0, 0)))
    np.savez(tmp_path / "42.npz", **{name: padded}, g_feature=REGIONS[0], num_boxes=3, extra=1)
    store = open_feature_store(str(tmp_path))
    assert store.shapes == {"region_feature": (None, 6), "global_feature": (6,)}
    np.testing.assert_array_equal(store.get("42").region_feature, REGIONS)
    np.testing.assert_array_equal(store.get("42").global_feature, REGIONS[0])


def test_arrays_of_a_file_that_do_not_fit(tmp_path: Path):
    np.savez(tmp_path / "1.npz", x=REGIONS.T, bbox=BOXES / 100)
    np.savez(tmp_path / "2.npz", x=REGIONS.T, bbox=BOXES[:2] / 100)
    np.savez(tmp_path / "3.npz", x=REGIONS.T)
    np.savez(tmp_path / "4.npz", x=np.array([{}], object), bbox=BOXES / 100)
    store = open_feature_store(str(tmp_path))
    assert store.get("1").boxes.shape == (3, 4)
    for key, message in (
        ("2", "2 boxes for 3 regions"),
        ("3", r"3\.npz cannot be read as an array: it contains x\.npy, expected `bbox`"),
        ("4", "Python objects"),
    ):
        with pytest.raises(InputError, match=message):
            store.get(key)


def test_files_of_objects_beside_the_features(tmp_path: Path):
    """MMF's: `42.npy` and a pickled `42_info.npy`."""
    np.save(tmp_path / "42.npy", REGIONS)
    np.save(tmp_path / "42_info.npy", np.array({"bbox": BOXES}))
    store = open_feature_store(str(tmp_path))
    assert store.keys() == ["42"]
    np.testing.assert_array_equal(store.get("42").region_feature, REGIONS)


def test_files_of_torch_are_refused(tmp_path: Path):
    (tmp_path / "42.pth").write_bytes(b"PK")
    for text in (str(tmp_path / "42.pth"), f"h5:{tmp_path / '42.pth'}", f"{tmp_path}"):
        with pytest.raises(InputError, match=r"PyTorch.* not supported.*numpy\.savez"):
            open_feature_store(text)
