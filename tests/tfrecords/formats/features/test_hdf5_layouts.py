"""HDF5 files in the layouts of other code bases: the same features out of each of them."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import feature_layouts as layouts
import h5py
import numpy as np
import pytest

from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.core.errors import InputError
from tfrecords.formats.features.opening import open_feature_store
from tfrecords.formats.paired.reading import PairedSource

CASES = Path(
    os.environ.get("R2M_SHARED_CASES", Path(__file__).resolve().parents[5] / "shared" / "cases")
)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_every_layout(layout: str, tmp_path: Path):
    path = layouts.LAYOUTS[layout](tmp_path / "x.hdf5")
    store = open_feature_store(str(path))
    regions = {} if layout == "grids_only" else {"region_feature": (None, 32)}
    grids = {"grid_feature": (7, 7, 32)} if layout in ("grids_only", "dlct") else {}
    assert store.shapes == regions | grids
    assert store.has_boxes == (layout in layouts.WITH_BOXES or layout == "meshed_memory")
    assert store.needs_sizes == (layout == "meshed_memory")
    assert len(store.keys()) == 8
    assert store.paths == (path,)
    for opened in (store, pickle.loads(pickle.dumps(store))):
        for i in layouts.IDS:
            found = opened.get(f"val2014/COCO_val2014_{i:012}.jpg", str(i))
            if regions:
                np.testing.assert_array_equal(found.region_feature, layouts.REGIONS[i])
            if grids:
                np.testing.assert_array_equal(found.grid_feature.reshape(49, 32), layouts.GRIDS[i])
            if store.needs_sizes:
                np.testing.assert_array_equal(found.corners, layouts.BOXES[i])
                assert found.boxes is None
            elif store.has_boxes:
                np.testing.assert_allclose(found.boxes, [layouts.STORED_BOX] * (10 + i), rtol=1e-6)
            known = (layouts.HEIGHT, layouts.WIDTH) if layout in layouts.WITH_SIZES else (None,) * 2
            assert (found.height, found.width) == known
        assert opened.get("9", "COCO_val2014_000000000009.jpg") is None


@pytest.mark.parametrize("case", ["m2", "m2_feat_only", "dlct", "columns", "padded"])
def test_handed_files(case: str, tmp_path: Path):
    found = list((CASES / "features").glob(f"{case}.*5"))
    if not found:
        pytest.skip(f"no file {case} in {CASES}/features (set R2M_SHARED_CASES to the folder)")
    store = open_feature_store(str(found[0]))
    assert store.shapes["region_feature"] == (None, 32)
    # The boxes of `columns` are random numbers, and those of `m2` in pixels of unknown images.
    assert store.has_boxes == (case in ("m2", "dlct"))
    assert store.needs_sizes == (case == "m2")
    assert store.get("COCO_val2014_000000000008.jpg").region_feature.shape[1] == 32
    captions = PairedSource(str(CASES / "features" / "d.json"))
    options = CaptionsOptions(
        folder=tmp_path / "records", captions=(captions,), store=store, min_count=1
    )
    records = build_captions(options, progress=False)
    assert (records.count("train"), records.count("val")) == (6, 2)
    assert ("boxes" in records.feature_names) == (case == "dlct")


def test_boxes_in_pixels_by_the_relative_ones_beside_them(tmp_path: Path):
    """`image_bb` is in pixels of images of unknown size, `spatial_features` is not."""
    store = open_feature_store(str(layouts.adaptive(tmp_path / "train.hdf5")))
    assert store.has_boxes and not store.needs_sizes


def test_boxes_in_pixels_by_sizes_of_coco(tmp_path: Path):
    images = [
        {"id": i, "file_name": f"COCO_val2014_{i:012}.jpg"}
        | {"width": layouts.WIDTH, "height": layouts.HEIGHT}
        for i in layouts.IDS
    ]
    (tmp_path / "sizes.json").write_text(json.dumps({"images": images}))
    path = layouts.meshed_memory(tmp_path / "m2.hdf5")
    store = open_feature_store(f"h5:{path},sizes={tmp_path / 'sizes.json'}")
    found = store.get("5")
    np.testing.assert_allclose(found.boxes, [layouts.STORED_BOX] * 15, rtol=1e-6)
    assert (found.height, found.width) == (layouts.HEIGHT, layouts.WIDTH)


def test_boxes_of_another_format_are_left_out(tmp_path: Path, caplog):
    """x, y, width, height."""
    sides = layouts.BOXES[1] * np.float32([1, 1, 0.1, 0.1])
    path = layouts.write(tmp_path / "x.h5", **{"1_features": layouts.REGIONS[1], "1_boxes": sides})
    store = open_feature_store(str(path))
    assert not store.has_boxes and store.get("1").region_feature.shape == (11, 32)
    assert "image '1': the boxes are not x1, y1, x2, y2" in caplog.text


def test_names_of_rows_from_the_pickle_beside(tmp_path: Path):
    path = layouts.write(tmp_path / "train36.hdf5", image_features=layouts.PADDED)
    beside = tmp_path / "train36_imgid2idx.pkl"
    beside.write_bytes(pickle.dumps({i: row for row, i in enumerate(layouts.IDS)}, protocol=2))
    message = (
        r"train36\.hdf5 contains columns, but none with the names .*`image_id`.* it contains "
        r"'image_features' \[8, 18, 32\].* ids=train36_imgid2idx\.pkl"
    )
    with pytest.raises(InputError, match=message):
        open_feature_store(str(path))
    store = open_feature_store(f"{path},ids={beside}")
    assert store.paths == (path, beside)
    np.testing.assert_array_equal(store.get("000000000003.jpg").region_feature, layouts.PADDED[2])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"features": np.ones((3, 4, 6)), "image_id": [1, 2]},
            r"'features' has 3 rows, but image_id lists 2 images \('1', '2'\)",
        ),
        ({"features": np.ones((2, 4, 6)), "image_id": [1, 1]}, "rows 0 and 1 are both named '1'"),
        ({"features": np.ones((2, 4, 6)), "image_id": [1.0, 2.0]}, r"row 0 is '1\.0'"),
        (
            {"features": np.ones((2, 4, 6)), "bbox": np.ones((2, 4, 4))},
            r"none with the names of the images \(`image_id`",
        ),
        ({"features": np.ones((1, 2, 3, 4, 5)), "ids": [5]}, r"shape \(2, 3, 4, 5\), expected"),
        (
            {"features": np.ones((2, 4, 6)), "ids": [1, 2], "num_boxes": [2.5, 1]},
            r"\[2\.5\], expected whole numbers",
        ),
    ],
)
def test_columns_that_make_no_sense(columns: dict, message: str, tmp_path: Path):
    path = layouts.write(tmp_path / "x.h5", **columns)
    with pytest.raises(InputError, match=message):
        open_feature_store(str(path))


def test_what_is_no_layout_names_what_it_holds(tmp_path: Path):
    path = layouts.write(tmp_path / "x.h5", **{str(i): np.ones((1, 2, 3, 4)) for i in range(9)})
    with pytest.raises(
        InputError, match=r"expected \[D\], .*it contains '0' \[1, 2, 3, 4\].* 9 names"
    ):
        open_feature_store(str(path))
    with pytest.raises(InputError, match=r"there is no HDF5 file .*nowhere\.h5"):
        open_feature_store(str(tmp_path / "nowhere.h5"))
    boxes = layouts.write(tmp_path / "y.h5", **{f"{i}__geometry": np.ones((3, 4)) for i in "12"})
    with pytest.raises(InputError, match=r"only boxes: expected .*`feat`.* contains '1' \(a group"):
        open_feature_store(str(boxes))
    with pytest.raises(InputError, match=r"has no column of features \(expected `feat`"):
        open_feature_store(f"{path},ids={tmp_path / 'ids.txt'}")


def test_flat_maps_that_are_no_square(tmp_path: Path, caplog):
    grids = {f"{i}_grids": np.ones((12, 32)) for i in layouts.IDS}
    path = layouts.write(tmp_path / "x.h5", **grids)
    assert open_feature_store(str(path)).shapes == {"region_feature": (None, 32)}
    features = {f"{i}_features": layouts.REGIONS[i] for i in layouts.IDS}
    path = layouts.write(tmp_path / "y.h5", **grids, **features)
    assert open_feature_store(str(path)).get("1").region_feature.shape == (11, 32)
    assert "maps of 12 cells, which do not form a square" in caplog.text


def test_links_and_ranges_that_lead_elsewhere(tmp_path: Path):
    path = layouts.features_only(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        del file["2_features"]
        file["2_features"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/1")
    store = open_feature_store(str(path))
    with pytest.raises(InputError, match=r"x\.h5, image '2' cannot be read: .* a link"):
        store.get("2")
    path = layouts.adaptive(tmp_path / "y.h5")
    with h5py.File(path, "a") as file:
        file["pos_boxes"][3] = [5, 4000]
    with pytest.raises(
        InputError, match=r"image '4' \(row 3\) cannot be read: .* no rows 5 to 4000"
    ):
        open_feature_store(str(path)).get("4")


@pytest.mark.parametrize("layout", ["dlct", "zero_padded", "columns"])
def test_files_of_other_images(layout: str, tmp_path: Path):
    """`train36.hdf5` and `val36.hdf5`."""
    first, second, both = (tmp_path / f"{name}.h5" for name in ("train", "val", "both"))
    layouts.LAYOUTS[layout](first)
    with h5py.File(first) as source, h5py.File(second, "w") as target:
        for name in source:
            if layout == "columns" or "1" in name:
                target[name.replace("1", "9")] = source[name][()] + 100 * (name == "image_id")
    layouts.LAYOUTS[layout](both)
    with pytest.raises(InputError, match="both contain region_feature: give only one of each kind"):
        open_feature_store(f"h5:{first},{both}")
    number = "101" if layout == "columns" else "9"
    text = f"h5:{first},{second}"
    store = pickle.loads(pickle.dumps(open_feature_store(text)))
    assert len(store.keys()) == (16 if layout == "columns" else 9)
    assert store.paths == (first, second)
    assert store.has_boxes == (layout != "zero_padded")
    np.testing.assert_array_equal(store.get(number).region_feature, layouts.REGIONS[1])
    np.testing.assert_array_equal(store.get("2").region_feature, layouts.REGIONS[2])
    assert store.get("10") is None


def test_files_of_other_images_that_differ(tmp_path: Path):
    layouts.write(tmp_path / "a.h5", **{"1": np.ones((2, 6))})
    layouts.write(tmp_path / "b.h5", **{"2": np.ones((2, 7))})
    layouts.write(tmp_path / "c.h5", **{"001": np.ones((2, 6))})
    message = r"b\.h5 has region_feature \[N, 7\], but .*a\.h5 region_feature \[N, 6\]"
    with pytest.raises(InputError, match=message):
        open_feature_store(f"h5:{tmp_path / 'a.h5'},{tmp_path / 'b.h5'}")
    store = open_feature_store(f"h5:{tmp_path / 'a.h5'},{tmp_path / 'c.h5'}")
    with pytest.raises(InputError, match=r"'1' of .*a\.h5, '001' of .*c\.h5"):
        store.get("1")


def test_columns_in_a_group(tmp_path: Path):
    path = layouts.columns(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        for name in list(file):
            file.move(name, f"data/{name}")
    found = open_feature_store(str(path)).get("3")
    np.testing.assert_array_equal(found.region_feature, layouts.REGIONS[3])
    np.testing.assert_allclose(found.boxes, [layouts.STORED_BOX] * 13, rtol=1e-6)


def test_other_groups_beside_the_images(tmp_path: Path):
    path = layouts.meshed_memory(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        file.create_group("0")["about"] = "meshed memory"
    assert open_feature_store(str(path)).keys() == [str(i) for i in layouts.IDS]


def test_names_that_are_no_text(tmp_path: Path):
    path = layouts.zero_padded(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        file[b"\xff"] = layouts.REGIONS[1]
    store = open_feature_store(str(path))
    assert store.keys() == [f"{i:012}" for i in layouts.IDS] + ["\udcff"]
    assert store.get("\udcff", "val2014/x.jpg") is None
    assert store.get("COCO_val2014_000000000008.jpg").region_feature.shape == (18, 32)
