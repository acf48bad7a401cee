"""Folders of files, HDF5, LMDB and arrays of rows."""

from __future__ import annotations

import io
import json
import pickle

import h5py
import numpy as np
import pytest

from tfrecords.core.errors import InputError
from tfrecords.formats.features.opening import open_feature_store
from tfrecords.formats.features.pixel_sizes import read_sizes

IDS = ("42", "7", "391895")
VECTORS = {key: np.full(5, float(key), np.float32) for key in IDS}
REGIONS = {
    key: np.random.RandomState(int(key)).normal(size=(2 + i, 6)).astype(np.float32)
    for i, key in enumerate(IDS)
}
# x1, y1, x2, y2 in an image of 100 x 50 pixels.
PIXELS = {
    key: np.tile(np.array([[10.0, 5.0, 90.0, 120.0]], np.float32), (len(REGIONS[key]), 1))
    for key in IDS
}
BOX = [0.1, 0.1, 1.0, 0.9]
MAPS = {key: np.full((3, 2, 6), float(key), np.float32) for key in IDS}


def array_bytes(array: np.ndarray, packed: bool) -> bytes:
    stream = io.BytesIO()
    if packed:
        np.savez_compressed(stream, feat=array)
    else:
        np.save(stream, array)
    return stream.getvalue()


def write_folder(prefix, part: str, arrays: dict[str, np.ndarray]) -> None:
    folder = prefix.with_name(prefix.name + part)
    folder.mkdir(exist_ok=True)
    for key, array in arrays.items():
        suffix = ".npz" if part == "_att" else ".npy"
        (folder / f"{key}{suffix}").write_bytes(array_bytes(array, part == "_att"))


def write_h5(path, arrays: dict[str, np.ndarray]) -> None:
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array


def write_lmdb(path, arrays: dict[str, np.ndarray], subdir: bool = True) -> None:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(path), map_size=1 << 24, subdir=subdir) as environment:
        values = {key: array_bytes(array, array.ndim > 1) for key, array in arrays.items()}
        for key, value in {"__len__": b"3", **values}.items():
            put(environment, key, value)


def put(environment, key: str, value: bytes) -> None:
    with environment.begin(write=True) as transaction:
        transaction.put(key.encode(), value)


@pytest.fixture
def sizes(tmp_path):
    path = tmp_path / "sizes.json"
    images = [{"id": int(key), "width": 100, "height": 50} for key in IDS]
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": [1, 2]}))
    return path


def write_all(kind: str, folder) -> str:
    """Vectors, regions and boxes in one of the formats; how to name them."""
    parts = {"fc": VECTORS, "att": REGIONS, "box": PIXELS}
    if kind == "folders":
        for part, arrays in parts.items():
            write_folder(folder / "coco", f"_{part}", arrays)
        return f"folders:{folder / 'coco'}"
    write = {"h5": write_h5, "lmdb": write_lmdb}[kind]
    for part, arrays in parts.items():
        write(folder / f"{part}.{kind}", arrays)
    return f"{kind}:" + ",".join(str(folder / f"{part}.{kind}") for part in parts)


@pytest.mark.parametrize("kind", ["folders", "h5", "lmdb"])
def test_vectors_regions_and_boxes(kind, tmp_path, sizes):
    store = open_feature_store(f"{write_all(kind, tmp_path)},sizes={sizes}")
    assert set(store.keys()) == set(IDS)
    assert store.shapes == {"global_feature": (5,), "region_feature": (None, 6)}
    assert store.has_boxes
    assert len(store.paths) == 4 and store.paths[-1] == sizes
    sent = pickle.dumps(store)
    assert len(sent) < 2000
    for opened in (store, pickle.loads(sent)):
        for key in IDS:
            found = opened.get("nothing", key)
            np.testing.assert_array_equal(found.global_feature, VECTORS[key])
            np.testing.assert_array_equal(found.region_feature, REGIONS[key])
            np.testing.assert_allclose(found.boxes, [BOX] * len(REGIONS[key]), rtol=1e-6)
            assert (found.height, found.width) == (50, 100)
    for key in ("nothing", "", "x" * 2000, "\udcff"):
        assert store.get(key) is None


@pytest.mark.parametrize("kind", ["folders", "h5", "lmdb"])
def test_boxes_in_pixels_need_sizes(kind, tmp_path):
    store = open_feature_store(write_all(kind, tmp_path))
    assert store.has_boxes and store.needs_sizes
    found = store.get("42")
    assert found.boxes is None
    np.testing.assert_array_equal(found.corners, PIXELS["42"])


def test_relative_boxes_need_none(tmp_path):
    write_folder(tmp_path / "coco", "_att", REGIONS)
    relative = {key: PIXELS[key] / [100, 150, 100, 150] for key in IDS}
    write_folder(tmp_path / "coco", "_box", relative)
    store = open_feature_store(str(tmp_path / "coco"))
    assert store.has_boxes
    found = store.get("42").boxes
    np.testing.assert_allclose(found, [[5 / 150, 0.1, 0.8, 0.9]] * 2, rtol=1e-6)
    write_folder(tmp_path / "coco", "_box", {"42": PIXELS["42"]})
    with pytest.raises(InputError, match=r"boxes of image '42'.* a corner at 120, expected 0\.\.1"):
        store.get("42")


def test_maps_and_a_database_in_one_file(tmp_path):
    write_folder(tmp_path / "coco", "_att", MAPS)
    assert open_feature_store(str(tmp_path / "coco")).shapes == {"grid_feature": (3, 2, 6)}
    write_h5(tmp_path / "x.hdf5", MAPS)
    found = open_feature_store(str(tmp_path / "x.hdf5")).get("42")
    np.testing.assert_array_equal(found.grid_feature, MAPS["42"])
    write_lmdb(tmp_path / "x.lmdb", MAPS, subdir=False)
    assert open_feature_store(str(tmp_path / "x.lmdb")).keys() == sorted(IDS)


def test_vectors_may_have_dimensions_of_one(tmp_path):
    write_folder(tmp_path / "coco", "_fc", {"1": np.ones((1, 1, 5), np.float32)})
    assert open_feature_store(str(tmp_path / "coco")).shapes == {"global_feature": (5,)}


@pytest.mark.parametrize(
    ("part", "array", "message"),
    [
        ("_fc", None, "coco_fc, image '42': not found, but"),
        ("_att", None, "coco_att, image '42': not found, but"),
        (
            "_att",
            np.ones((4, 7)),
            r"shape \(4, 7\), expected \[N, 6\], N at least 1, as for the other images",
        ),
        ("_att", np.ones((0, 6)), r"shape \(0, 6\), expected \[N, 6\], N at least 1"),
        ("_att", np.ones((2, 3, 6)), r"shape \(2, 3, 6\), expected \[N, 6\]"),
        ("_att", np.ones((3, 6)), "2 boxes for 3 regions"),
        ("_att", np.full((2, 6), np.inf), "not finite"),
        ("_fc", np.ones(4), r"shape \(4,\), expected \[5\]"),
        ("_box", np.ones((2, 5)), r"shape \(2, 5\), expected \[N, 4\]"),
    ],
)
def test_images_that_differ_from_the_others(part, array, message, tmp_path, sizes):
    store = open_feature_store(f"{write_all('folders', tmp_path)},sizes={sizes}")
    suffix = ".npz" if part == "_att" else ".npy"
    (tmp_path / f"coco{part}" / f"42{suffix}").unlink()
    if array is not None:
        write_folder(tmp_path / "coco", part, {"42": array})
    if part == "_fc" and array is None:
        # The vectors come first: an image without is an image the store does not have.
        assert store.get("42") is None
        return
    with pytest.raises(InputError, match=message):
        store.get("42")
    assert store.get("7").boxes.shape == (3, 4)


def test_keys_do_not_lead_out_of_the_folder(tmp_path):
    write_folder(tmp_path / "coco", "_fc", VECTORS)
    write_folder(tmp_path / "secret", "_fc", {"1": np.ones(5)})
    store = open_feature_store(str(tmp_path / "coco"))
    for key in ("../secret_fc/1", str(tmp_path / "secret_fc" / "1"), "a\0b", "\udcff", "."):
        assert store.get(key) is None
    (tmp_path / "coco_fc" / "8.npy").symlink_to(tmp_path / "coco_fc" / "8.npy")
    with pytest.raises(InputError, match=r"cannot read .*8\.npy"):
        store.get("8")


def test_an_image_without_a_size(tmp_path, sizes):
    sizes.write_text(json.dumps({"images": [{"file_name": "a/7.jpg", "width": 9, "height": 8}]}))
    store = open_feature_store(f"{write_all('folders', tmp_path)},sizes={sizes}")
    assert store.get("7").height == 8
    with pytest.raises(InputError, match="has no unique size for image '42'"):
        store.get("42")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "contains no sizes"),
        ('{"images": [{"id": 1, "width": 0, "height": 2}]}', r"sizes\.json:1: an image of 0 x 2"),
        ('{"images": [{"id": 1, "width": true, "height": 2}]}', "True x 2"),
        ('{"images": [{"id": 1, "width": 1e400, "height": 2}]}', "inf x 2"),
        ('{"images": [5, {"id": [1], "width": 3, "height": 2}]}', "contains no sizes"),
    ],
)
def test_files_of_sizes_that_are_none(content, message, tmp_path):
    path = tmp_path / "sizes.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_sizes(path)
    with pytest.raises(InputError, match="nowhere"):
        read_sizes(tmp_path / "nowhere.json")


def test_hdf5_that_is_damaged(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["1"] = np.ones(5, np.float32)
        file.create_group("group")
        # Declared, never written: the file stays small.
        file.create_dataset("2", (1 << 20, 1 << 20), np.float32, chunks=(64, 64))
        file["3"] = np.array(["text"], "S4")
        file["4"] = h5py.Empty("f4")
        file["5"] = np.array([1, np.nan])
        file["6"] = h5py.SoftLink("/nowhere")
        # Values that lie in other files, and more parts than can be read in reasonable time.
        file["7"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/1")
        file.create_dataset("8", (2,), "f4", external=[(str(tmp_path / "raw"), 0, 8)])
        file.create_dataset("9", (1 << 22,), np.float32, chunks=(1,))
    store = open_feature_store(str(path))
    expected = {"group": "a group", "2": "it declares", "3": "expected numbers",
                "4": "without values", "5": "not finite", "6": "a link", "/": "cannot be read",
                "7": "a link", "8": "another file", "9": "in chunks of"}  # fmt: skip
    for key, message in expected.items():
        with pytest.raises(InputError, match=rf"x\.h5, image '{key}'.*{message}"):
            store.get(key)
    for size in (0, 100, path.stat().st_size // 2):
        cut = tmp_path / f"{size}.h5"
        cut.write_bytes(path.read_bytes()[:size])
        with pytest.raises(InputError, match=f"cannot open .*{size}.h5 as HDF5"):
            open_feature_store(str(cut))


def test_lmdb_that_is_damaged(tmp_path):
    write_lmdb(tmp_path / "x.lmdb", REGIONS, subdir=False)
    whole = (tmp_path / "x.lmdb").read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 1):
        cut = tmp_path / f"{size}.lmdb"
        cut.write_bytes(whole[:size])
        with pytest.raises(InputError, match=f"{size}.lmdb.*(as an LMDB|was cut short)"):
            open_feature_store(str(cut))
    with pytest.raises(InputError, match=r"cannot read .*nowhere.* as an LMDB"):
        open_feature_store(str(tmp_path / "nowhere.lmdb"))
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "y.lmdb")) as environment:
        put(environment, "1", b"no array")
    with pytest.raises(InputError, match=r"y\.lmdb, image '1' cannot be read as an array"):
        open_feature_store(str(tmp_path / "y.lmdb"))


def test_rows_of_one_array(tmp_path):
    rows = np.arange(20, dtype=np.float64).reshape(4, 5)
    np.save(tmp_path / "f8k_train_ims.npy", rows)
    store = open_feature_store(str(tmp_path / "f8k_train_ims.npy"))
    assert store.keys() == ["0", "1", "2", "3"]
    assert store.shapes == {"global_feature": (5,)}
    assert store.get("2").global_feature.tolist() == [10, 11, 12, 13, 14]
    for key in ("4", "-1", "1.0", "²", "x", "", "9" * 30):
        assert store.get(key) is None
    assert pickle.loads(pickle.dumps(store)).get("0").height is None


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(3), "expected rows"),
        (np.ones((0, 4)), "expected rows"),
        (np.asfortranarray(np.ones((3, 4))), "in columns"),
        (np.array([[{}]]), "Python objects"),
    ],
)
def test_arrays_without_rows(array, message, tmp_path):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InputError, match=rf"x\.npy cannot be read .*{message}"):
        open_feature_store(str(tmp_path / "x.npy"))
    (tmp_path / "y.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:30])
    with pytest.raises(InputError, match=r"y\.npy cannot be read"):
        open_feature_store(str(tmp_path / "y.npy"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot detect the kind"),
        (
            "nowhere",
            r"the kind .* no such file or folder.* the kinds tsv, folders, h5, lmdb, npy, records",
        ),
        ("nowhere.npz", "there is no file of features nowhere.npz"),
        ("h5:", "expected KIND:PATH"),
        ("npy:a.npy,b.npy", "accepts only one path"),
        ("npy:a.npy,sizes=x.json", "expected KIND:PATH"),
        ("npy:nowhere.npy", "nowhere.npy"),
        ("h5:nowhere.h5", "nowhere.h5"),
        ("folders:nowhere", "no folder .*nowhere_fc"),
        ("records:nowhere", "no folder .*nowhere"),
    ],
)
def test_texts_that_name_no_store(text, message):
    with pytest.raises(InputError, match=message):
        open_feature_store(text)


def test_an_archive_of_one_image_is_refused(tmp_path):
    np.savez(tmp_path / "image.npz", feat=np.zeros([2, 3], np.float32))
    with pytest.raises(
        InputError, match=r"the file of one image, give its folder \(folders:FOLDER\)"
    ):
        open_feature_store(str(tmp_path / "image.npz"))


def test_stores_that_make_no_sense(tmp_path):
    write_folder(tmp_path / "a", "_box", PIXELS)
    write_folder(tmp_path / "a", "_fc", VECTORS)
    with pytest.raises(InputError, match="give only one of each kind"):
        write_h5(tmp_path / "x.h5", VECTORS)
        open_feature_store(f"h5:{tmp_path / 'x.h5'},{tmp_path / 'x.h5'}")
    write_folder(tmp_path / "a", "_box", {key: PIXELS[key] / 200 for key in IDS})
    with pytest.raises(InputError, match="but no region features"):
        open_feature_store(str(tmp_path / "a"))
    (tmp_path / "b_fc").mkdir()
    with pytest.raises(InputError, match=r"b_fc contains no \.npy or \.npz"):
        open_feature_store(str(tmp_path / "b"))
    write_h5(tmp_path / "y.h5", {})
    with pytest.raises(InputError, match="contains no images"):
        open_feature_store(str(tmp_path / "y.h5"))
