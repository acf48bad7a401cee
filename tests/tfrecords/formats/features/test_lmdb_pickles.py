"""LMDBs of ViLBERT and MMF."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrecords.core.errors import InputError
from tfrecords.formats.features.opening import open_feature_store

lmdb = pytest.importorskip("lmdb")
REGIONS = np.random.default_rng(0).random((3, 6), np.float32)
BOXES = np.tile(np.float32([10, 5, 90, 25]), (3, 1))


def write(path: Path, content: dict[str, Any]) -> Path:
    environment = lmdb.open(str(path), map_size=1 << 20)
    with environment, environment.begin(write=True) as transaction:
        for key, value in {**content, "keys": list(content)}.items():
            transaction.put(key.encode(), pickle.dumps(value))
    return path


def vilbert(scale: float) -> dict[str, Any]:
    encoded = {"features": REGIONS * scale, "boxes": BOXES, "cls_prob": REGIONS}
    row = {name: base64.b64encode(array.tobytes()) for name, array in encoded.items()}
    return {"image_id": "42", "image_h": "50", "image_w": "100", "num_boxes": "3", **row}


def mmf(scale: float) -> dict[str, Any]:
    arrays = {"features": REGIONS * scale, "bbox": BOXES, "objects": np.arange(3)}
    return {"feature_path": "42", "image_height": 50, "image_width": 100, "num_boxes": 3, **arrays}


@pytest.mark.parametrize("row", [vilbert, mmf])
def test_dictionaries(row: Any, tmp_path: Path):
    content = {f"COCO_val2014_{number:012}": row(number) for number in (7, 42)}
    store = open_feature_store(f"lmdb:{write(tmp_path / 'x.lmdb', content)}")
    assert store.keys() == list(content) and store.has_boxes
    found = pickle.loads(pickle.dumps(store)).get("42")
    np.testing.assert_array_equal(found.region_feature, REGIONS * 42)
    np.testing.assert_allclose(found.boxes, [[0.1, 0.1, 0.5, 0.9]] * 3, rtol=1e-6)
    assert (found.height, found.width) == (50, 100)
    assert store.get("8") is None


class Runs:
    ran = False

    def __reduce__(self):
        return setattr, (Runs, "ran", True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1, "b": 2}, "a pickle with 'a', 'b'; expected one of `feat`"),
        ([1, 2], "a pickle of list, expected a dictionary"),
        ({"features": Runs()}, "requires builtins.setattr"),
        ({"features": b"AAA"}, "features is not float32 encoded as base64"),
        ({"features": {"a": 1}}, "contains object, expected numbers|not an array"),
        ({"features": [[1], [1, 2]]}, "features is not an array of numbers"),
        ({"features": np.array([np.nan])}, "not finite"),
    ],
)
def test_pickles_that_hold_no_features(value: Any, message: str, tmp_path: Path):
    path = write(tmp_path / "x.lmdb", {"42": value})
    with pytest.raises(InputError, match=rf"x\.lmdb, image '42'.*({message})"):
        open_feature_store(f"lmdb:{path}")
    assert not Runs.ran


def test_an_image_without_a_field(tmp_path: Path):
    path = write(tmp_path / "x.lmdb", {"42": mmf(1), "43": {"features": REGIONS}})
    with pytest.raises(InputError, match=r"image '43' has no '.*'; it has 'features'"):
        open_feature_store(f"lmdb:{path}").get("43")
