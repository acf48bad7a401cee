"""Arrays with a row per image, and lists of the names of the rows."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tfrecords.core.errors import InputError
from tfrecords.formats.features.opening import open_feature_store
from tfrecords.formats.features.row_names import read_row_names

NAMES = ["a/1.jpg", "b/2.jpg", "café.jpg"]
ROWS = np.arange(3 * 36 * 5, dtype=np.float32).reshape(3, 36, 5)


LISTS = {
    "names.txt": lambda path: path.write_text("\ufeff" + "\r\n".join(NAMES) + "\r\n\r\n"),
    "list.json": lambda path: path.write_text(json.dumps(NAMES)),
    "rows.json": lambda path: path.write_text(json.dumps({n: i for i, n in enumerate(NAMES)})),
    "coco.json": lambda path: path.write_text(
        json.dumps({"info": {}, "images": [{"file_name": name, "width": 2} for name in NAMES]})
    ),
    "names.npy": lambda path: np.save(path, np.array(NAMES)),
    "names.pkl": lambda path: path.write_bytes(pickle.dumps({n: i for i, n in enumerate(NAMES)})),
    "list.p": lambda path: path.write_bytes(pickle.dumps(NAMES, protocol=0)),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_names(name: str, tmp_path: Path):
    LISTS[name](tmp_path / name)
    assert read_row_names(tmp_path / name) == {"a/1.jpg": 0, "b/2.jpg": 1, "café.jpg": 2}
    np.save(tmp_path / "x.npy", ROWS)
    store = open_feature_store(f"npy:{tmp_path / 'x.npy'},ids={tmp_path / name}")
    assert store.shapes == {"region_feature": (None, 5)}
    assert store.keys() == NAMES
    assert store.paths == (tmp_path / "x.npy", tmp_path / name)
    store = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(store.get("2.png").region_feature, ROWS[1])
    assert store.get("b/1.jpg", "3") is None


def test_numbers_of_images(tmp_path: Path):
    np.save(tmp_path / "ids.npy", np.array([[9], [42], [7]]))
    np.save(tmp_path / "x.npy", ROWS[:, 0])
    store = open_feature_store(f"{tmp_path / 'x.npy'},ids={tmp_path / 'ids.npy'}")
    found = store.get("COCO_val2014_000000000042.jpg").global_feature
    np.testing.assert_array_equal(found, ROWS[1, 0])
    # The number of a row is no name of an image.
    assert store.get("1") is None


class Runs:
    ran = False

    def __reduce__(self):
        return setattr, (Runs, "ran", True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.txt",
            b"a.jpg\nb.jpg\n",
            r"lists 2 images \('a\.jpg', 'b\.jpg'\), but .*x\.npy has 3 rows",
        ),
        ("x.txt", b"a\nb\na\n", "rows 0 and 2 are both named 'a'"),
        ("x.txt", b"a\n\nb\n", "row 1 has no name"),
        ("x.txt", b"", "expected a list of names"),
        ("x.txt", b"a\nb\nc\xff\n", r"x\.txt:3: .*iconv"),
        ("x.json", b"{", "not valid JSON"),
        ("x.json", b"[" * 100_000, "not valid JSON|nested too deeply"),
        ("x.json", b"5", "expected a list of names"),
        ("x.json", b"[1, 2, true]", "row 2 is 'True', expected the name"),
        ("x.json", b'[1, 2, "\\ud800"]', "row 2 .* not UTF-8"),
        ("x.json", b'[{"width": 3}, 2, 3]', "row 0 is .*expected the name"),
        ("x.json", b'{"a": 0, "b": 2, "c": 3}', "'c' has row 3; expected each of the rows 0"),
        ("x.json", b'{"a": 0, "b": 0, "c": 1}', "'b' has row 0; expected"),
        ("x.npy", b"\x93NUMPY\x01\x00", r"x\.npy cannot be read as a list"),
        ("x.pkl", pickle.dumps({"a": Runs()}), "requires builtins.setattr"),
        ("x.pkl", b"\x80", "not a complete pickle|cannot be loaded"),
    ],
)
def test_lists_that_are_none(name: str, content: bytes, message: str, tmp_path: Path):
    np.save(tmp_path / "x.npy", ROWS)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_feature_store(f"{tmp_path / 'x.npy'},ids={tmp_path / 'lists' / name}")
    assert not Runs.ran


def test_lists_that_do_not_belong(tmp_path: Path):
    for text in ("tsv:a.tsv,ids=b", "lmdb:a,ids=b", "npy:a.npy,ids=b,ids=c", "npy:a.npy,ids="):
        with pytest.raises(InputError, match=r"expected (KIND:PATH|one ids=FILE)"):
            open_feature_store(text)
    np.save(tmp_path / "ids.npy", np.array([{}, "a"], object))
    np.save(tmp_path / "x.npy", ROWS)
    with pytest.raises(InputError, match="contains Python objects"):
        open_feature_store(f"{tmp_path / 'x.npy'},ids={tmp_path / 'ids.npy'}")
