"""Indexes: complete or absent, and bound to their model."""

import json
import re

import numpy as np
import pytest

from r2m.inference.search.vector_index import INDEX_FILE, VECTORS, IndexWriter, VectorIndex
from tfrecords.core.errors import InputError

MODEL = {"run": "flickr8k/vse", "step": 7, "digest": "abc"}
ROWS = np.eye(6, 8, dtype=np.float32)
ITEMS = [{"text": f"caption {i} é"} for i in range(6)]


def writer(folder, **changes):
    options = {"kind": "captions", "size": 8, "similarity": "cosine", "model": MODEL, **changes}
    return IndexWriter(folder, **options)


def written(folder, **changes):
    with writer(folder, **changes) as index:
        index.add(ROWS[:4], ITEMS[:4])
        index.add(ROWS[4:], ITEMS[4:])
        return index.finish({"source": "here"})


def test_an_index_holds_what_was_added(tmp_path):
    written(tmp_path / "new" / "index")
    index = VectorIndex(tmp_path / "new" / "index")
    np.testing.assert_array_equal(index.vectors, ROWS)
    assert index.vectors.dtype == np.float16 and len(index) == 6 and index.unit_vectors
    assert index.items([5, 0, 3]) == [ITEMS[5], ITEMS[0], ITEMS[3]]
    assert index.about["source"] == "here" and index.kind == "captions"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["index"]


def test_vectors_of_any_length_are_named(tmp_path):
    with writer(tmp_path / "index") as index:
        index.add(2 * ROWS, ITEMS)
        assert not index.finish({}).unit_vectors


def test_an_interrupted_build_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / "index") as index:
        index.add(ROWS, ITEMS)
        raise KeyboardInterrupt
    assert not any(tmp_path.iterdir())


def test_what_a_killed_build_left_is_no_index_and_is_removed(tmp_path):
    left = tmp_path / f"index.unfinished-{2**22 + 1}"  # no process has this number
    with writer(tmp_path / "other") as index:
        index.add(ROWS, ITEMS)
        next(tmp_path.glob("other.unfinished-*")).rename(left)
    with pytest.raises(InputError, match="is incomplete: it has no"):
        VectorIndex(left)
    written(tmp_path / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_replacing_needs_permission(tmp_path):
    folder = tmp_path / "index"
    written(folder)
    with pytest.raises(InputError, match="is already an index: give --overwrite"):
        writer(folder)
    written(folder, model={**MODEL, "digest": "new"}, overwrite=True)
    assert VectorIndex(folder).about["model"]["digest"] == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "photograph.jpg").touch()
    with pytest.raises(InputError, match="exists and is not an index"):
        writer(tmp_path / "other", overwrite=True)


def test_half_written_indexes_are_refused(tmp_path):
    folder = tmp_path / "index"
    written(folder)
    whole = (folder / VECTORS).read_bytes()
    (folder / VECTORS).write_bytes(whole[:-10])
    with pytest.raises(InputError, match=r"vectors.f16 has 86 bytes, expected 96.*incomplete"):
        VectorIndex(folder)
    (folder / VECTORS).unlink()
    with pytest.raises(InputError, match=r"vectors\.f16 is missing"):
        VectorIndex(folder)
    (folder / VECTORS).write_bytes(whole)
    about = json.loads((folder / INDEX_FILE).read_text())
    (folder / INDEX_FILE).write_text(json.dumps({**about, "format": 9}))
    with pytest.raises(InputError, match="format 9, this version of R2M reads 1"):
        VectorIndex(folder)
    (folder / INDEX_FILE).write_text('{"for')
    with pytest.raises(InputError, match="is damaged"):
        VectorIndex(folder)
    (folder / INDEX_FILE).unlink()
    with pytest.raises(InputError, match=re.escape(f"{folder} is incomplete: it has no")):
        VectorIndex(folder)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"is not an index: it has no index\.json; r2m-build-index"
    ):
        VectorIndex(tmp_path)


def test_an_index_of_another_model_is_refused(tmp_path):
    index = written(tmp_path / "index")
    index.check_model(MODEL, "runs/here")
    with pytest.raises(InputError, match="index of another model: it was made with flickr8k/vse"):
        index.check_model({**MODEL, "digest": "other", "step": 9}, "runs/here")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_values_beyond_float16_are_refused(tmp_path, value):
    rows = ROWS.copy()
    rows[1, 1] = value
    with pytest.raises(InputError, match="'caption 1 é' has values"), writer(tmp_path / "i") as own:
        own.add(rows, ITEMS)


def test_an_empty_index_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to index"), writer(tmp_path / "i") as index:
        index.finish({})
