"""Bottom-up attention TSVs."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.formats.features import tsv as tsv_module
from tfrecords.formats.features.opening import open_feature_store
from tfrecords.formats.features.tsv import open_tsv

SIZE = 6


def features(seed: int, count: int) -> np.ndarray:
    return np.random.RandomState(seed).normal(size=(count, SIZE)).astype(np.float32)


def corners(seed: int, count: int) -> np.ndarray:
    found = np.random.RandomState(seed).uniform(0, [640, 480, 640, 480], (count, 4))
    return np.concatenate([np.minimum(found[:, :2], found[:, 2:]), found[:, 2:]], 1).astype("<f4")


def line(
    name: object, seed: int, count: int, width: object = 640, height: object = 480, **other: bytes
) -> bytes:
    columns = {
        "image_id": str(name).encode(),
        "image_w": str(width).encode(),
        "image_h": str(height).encode(),
        "num_boxes": str(count).encode(),
        "boxes": base64.b64encode(corners(seed, count).tobytes()),
        "features": base64.b64encode(features(seed, count).astype("<f4").tobytes()),
    }
    return b"\t".join({**columns, **other}.values())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "karpathy_train.tsv.0").write_bytes(
        b"\n".join(line(100 + i, i, 3 + i % 4) for i in range(5)) + b"\n"
    )
    # Windows' line ends, and no end after the last line.
    (tmp_path / "karpathy_train.tsv.1").write_bytes(
        b"\r\n".join(line(200 + i, 50 + i, 1 + i) for i in range(3))
    )
    return tmp_path


def check(store, key: str, seed: int, count: int) -> None:
    found = store.get(key)
    np.testing.assert_array_equal(found.region_feature, features(seed, count))
    expected = corners(seed, count)[:, [1, 0, 3, 2]] / [480, 640, 480, 640]
    np.testing.assert_allclose(found.boxes, expected, rtol=1e-6)
    assert found.boxes.dtype == np.float32
    assert (found.height, found.width) == (480, 640)
    assert found.global_feature is None and found.grid_feature is None


def test_several_files_are_one_store(folder):
    store = open_feature_store(f"tsv:{folder}")
    assert store.keys() == ["100", "101", "102", "103", "104", "200", "201", "202"]
    assert store.shapes == {"region_feature": (None, SIZE)}
    assert store.has_boxes and store.dropped == {}
    assert [path.name for path in store.paths] == ["karpathy_train.tsv.0", "karpathy_train.tsv.1"]
    for i in range(5):
        check(store, str(100 + i), i, 3 + i % 4)
    for i in range(3):
        check(store, str(200 + i), 50 + i, 1 + i)
    assert store.get("999") is None
    assert store.get("no", "name", "102").region_feature.shape == (5, SIZE)


def test_names_of_files_say_what_they_are(folder):
    by_name = open_feature_store(str(folder / "karpathy_train.tsv.1"))
    assert by_name.keys() == ["200", "201", "202"]
    both = f"{folder / 'karpathy_train.tsv.1'},{folder / 'karpathy_train.tsv.0'}"
    assert open_feature_store(both).keys()[:3] == ["200", "201", "202"]
    assert open_feature_store(str(folder)).keys()[0] == "100"


def test_stores_travel_to_other_processes_without_their_index(folder):
    store = open_feature_store(f"tsv:{folder}")
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    check(pickle.loads(sent), "104", 4, 3)


def test_the_end_of_a_line_is_leapt_to_and_not_looked_for(folder, monkeypatch):
    looked_for = []
    original = tsv_module._end_of_line
    monkeypatch.setattr(tsv_module, "_end_of_line", lambda *a: looked_for.append(a) or original(*a))
    tsv_module._make_index.cache_clear()
    open_feature_store(str(folder / "karpathy_train.tsv.0"))
    assert len(looked_for) == 1


def test_a_heading_and_empty_lines_are_passed_over(tmp_path):
    path = tmp_path / "x.tsv"
    heading = b"image_id\timage_w\timage_h\tnum_boxes\tboxes\tfeatures\n"
    path.write_bytes(heading + b"\n" + line(7, 1, 2) + b"\n\r\n" + line(8, 2, 2) + b"\n\n")
    store = open_tsv((path,))
    assert store.keys() == ["7", "8"]
    check(store, "8", 2, 2)


def test_images_that_come_twice(tmp_path, caplog):
    path = tmp_path / "x.tsv"
    lines = [line(1, 1, 2), line(2, 2, 2), line(1, 1, 2), line(2, 9, 3), line(3, 3, 2)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    store = open_tsv((path,))
    assert store.keys() == ["1", "2", "3"]
    # The first counts.
    check(store, "2", 2, 2)
    assert store.dropped == {"differs_from_first": 1}
    assert f"{path}:4: '2', as in {path}:2" in caplog.text


BASE64 = "not base64"
DAMAGED = {
    "base64": (line(5, 1, 2, features=b"!!!!"), f"features is {BASE64}"),
    "base64 of boxes": (line(5, 1, 2, boxes=b"A" * 43 + b"*"), f"boxes is {BASE64}"),
    "padding": (line(5, 1, 2)[:-1], f"features is {BASE64}"),
    "half": (line(5, 1, 2)[:-12], r"features has \d+ bytes, expected 48 \(2 boxes, 6 float32"),
    "other size": (line(5, 1, 2, features=base64.b64encode(bytes(40))), "features has 40 bytes"),
    "boxes": (line(5, 1, 2, boxes=base64.b64encode(bytes(16))), "boxes has 16 bytes, expected 32"),
    "count": (line(5, 1, 2, num_boxes=b"3"), "bytes, expected 48"),
    "no boxes": (line(5, 1, 2, num_boxes=b"0"), "no boxes"),
    "negative": (line(5, 1, 2, num_boxes=b"-2"), "num_boxes is b'-2', expected a whole number"),
    "width": (line(5, 1, 2, width=0), "0 x 480 pixels"),
    "height": (line(5, 1, 2, height="1e3"), "image_h is b'1e3'"),
    "huge": (line(5, 1, 2, height=999999999), "640 x 999999999 pixels"),
    "nan": (
        line(5, 1, 2, features=base64.b64encode(np.full(12, np.nan, "<f4").tobytes())),
        "not finite",
    ),
    "endless box": (
        line(5, 1, 2, boxes=base64.b64encode(np.full(8, np.inf, "<f4").tobytes())),
        "not finite",
    ),
    "columns": (line(5, 1, 2) + b"\tmore", "7 columns"),
    "cut in the boxes": (line(5, 1, 2)[:30], "5 columns.* is the file cut"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named_by_line_and_image_and_spares_the_others(name, tmp_path):
    damaged, message = DAMAGED[name]
    path = tmp_path / "x.tsv"
    path.write_bytes(b"\n".join([line(4, 4, 2), damaged, line(6, 6, 3)]) + b"\n")
    store = open_tsv((path,))
    with pytest.raises(InputError, match=rf"x\.tsv:2: image '5'.*{message}"):
        store.get("5")
    check(store, "4", 4, 2)
    check(store, "6", 6, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no image"),
        (b"just text\n", r"x\.tsv:1: not a line of a bottom-up TSV: 1 columns"),
        (line(1, 1, 2) + b"\n17\t640\n", r"x\.tsv:2: not a line"),
        (line("", 1, 2), "no image_id"),
        (line(1, 1, 2, image_id=b"\xff\xfe"), "codec can't decode"),
        (line(1, 1, 2, num_boxes=b"x"), "invalid literal"),
        (line(1, 1, 2, features=b"AAAA"), "0 numbers of features for 2 boxes"),
        (line("a" * 600, 1, 2), "1 columns"),
    ],
)
def test_files_that_are_no_such_tsv(content, message, tmp_path):
    path = tmp_path / "x.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_tsv((path,))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.tsv"):
        open_feature_store(str(tmp_path / "nowhere.tsv"))
    with pytest.raises(InputError, match=r"contains no \.tsv file"):
        open_feature_store(f"tsv:{tmp_path}")
    with pytest.raises(InputError, match="no bottom-up TSV file"):
        open_tsv(())


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "x.tsv"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_is_silent_or_fatal(scratch, data):
    whole = bytearray(b"\n".join(line(i, i, 1 + i % 3) for i in range(4)) + b"\n")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        if data.draw(st.booleans()):
            whole[place] = data.draw(st.sampled_from(list(b"\t\n\r0A=9-\0\xff")))
        else:
            del whole[place : place + data.draw(st.integers(1, 40))]
        if not whole:
            break
    scratch.write_bytes(bytes(whole))
    tsv_module._make_index.cache_clear()
    try:
        store = open_tsv((scratch,))
    except InputError:
        return
    for key in store.keys():  # noqa: SIM118 - it is no dict
        try:
            found = store.get(key)
        except InputError:
            continue
        regions = len(found.region_feature)
        assert regions and found.region_feature.shape == (regions, store.feature_size)
        assert np.isfinite(found.region_feature).all()
        if found.boxes is None:  # a line that lost columns is one of the layouts without sizes
            assert found.height is None and found.width is None
        else:
            assert found.boxes.shape == (regions, 4)
            assert ((found.boxes >= 0) & (found.boxes <= 1)).all()
            assert found.height >= 1 and found.width >= 1
