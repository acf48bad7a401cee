"""The files of the original embedding: read as data, refused where they do not fit."""

import collections
import os
import pickle
import re

import numpy as np
import pytest
from kiros_files import write_kiros

from tfrecords.core.errors import InputError
from tfrecords.formats.kiros_embedding import read_kiros_embedding


@pytest.mark.parametrize("encoder", ["gru", "bow"])
def test_weights_and_words(tmp_path, encoder):
    weights = write_kiros(tmp_path / "f8k.npz", encoder)
    found = read_kiros_embedding(tmp_path / "f8k.npz")
    # The last two words of the dictionary have no rows, as in the released code.
    assert found.words == ["a", "dog", "runs"] and found.encoder == encoder
    assert found.margin == 0.2 and found.weights.keys() == weights.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(found.weights[name], value)


def test_words_of_python_2_are_utf8(tmp_path):
    write_kiros(tmp_path / "f8k.npz", "bow")
    # Protocol 2 of Python 2: a dict of byte strings.
    text = b"(dp0\nS'caf\\xc3\\xa9'\np1\nI2\nsS'a'\np2\nI3\nsS'b'\np3\nI4\ns."
    (tmp_path / "f8k.npz.dictionary.pkl").write_bytes(text)
    assert read_kiros_embedding(tmp_path / "f8k.npz").words[0] == "café"


def test_code_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    for suffix in (".pkl", ".dictionary.pkl"):
        write_kiros(tmp_path / "f8k.npz", "bow")
        (tmp_path / f"f8k.npz{suffix}").write_bytes(pickle.dumps({"dim": Harm()}))
        with pytest.raises(InputError, match=re.escape(f"f8k.npz{suffix} cannot be loaded")):
            read_kiros_embedding(tmp_path / "f8k.npz")
    write_kiros(tmp_path / "f8k.npz", "bow")
    np.savez(tmp_path / "f8k.npz", Wemb=np.array([Harm()], object))
    with pytest.raises(InputError, match="not a complete"):
        read_kiros_embedding(tmp_path / "f8k.npz")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Wemb": None}, "no Wemb; an embedding with encoder gru has Wemb"),
        ({"encoder_U": np.zeros((4, 7), np.float32)}, r"encoder_U has shape \[4, 7\], expected"),
        ({"ff_image_b": np.full(4, np.nan)}, "ff_image_b has values that are NaN"),
        ({"Wemb": np.zeros((9, 3), np.float32)}, "5 words for 9 rows of Wemb, without .* id 7"),
        ({"ff_image_W": np.zeros(3, np.float32)}, "ff_image_W: expected an array of 2"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, change, message):
    weights = {**write_kiros(tmp_path / "f8k.npz", "gru"), **change}
    kept = {name: value for name, value in weights.items() if value is not None}
    np.savez(tmp_path / "f8k.npz", **kept)
    with pytest.raises(InputError, match=message):
        read_kiros_embedding(tmp_path / "f8k.npz")


def test_missing_and_damaged_files(tmp_path):
    write_kiros(tmp_path / "f8k.npz", "gru")
    whole = (tmp_path / "f8k.npz").read_bytes()
    (tmp_path / "f8k.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a complete"):
        read_kiros_embedding(tmp_path / "f8k.npz")
    (tmp_path / "f8k.npz.pkl").write_bytes(
        pickle.dumps(collections.OrderedDict(encoder="transformer"))
    )
    (tmp_path / "f8k.npz").write_bytes(whole)
    with pytest.raises(InputError, match="encoder 'transformer' is not known; known: gru, bow"):
        read_kiros_embedding(tmp_path / "f8k.npz")
    (tmp_path / "f8k.npz.dictionary.pkl").unlink()
    with pytest.raises(InputError, match=r"there is no dictionary file .*\.dictionary\.pkl"):
        read_kiros_embedding(tmp_path / "f8k.npz")
