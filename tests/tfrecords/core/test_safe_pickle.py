from __future__ import annotations

import collections
import io
import os
import pickle
import resource
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.core.safe_pickle import load_pickle


def load(data: bytes, **more: Any) -> Any:
    return load_pickle(io.BytesIO(data), "the file", **more)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_data_comes_back(protocol: int) -> None:
    counts = collections.defaultdict(float, {("1", "0"): 3.0})
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = {
        "df": counts,
        "n": 5,
        "x": array,
        "s": {1, 2},
        "b": b"\x00\xff",
        "none": b"",
        "f": np.float64(0.5),
    }
    found = load(pickle.dumps(data, protocol))
    np.testing.assert_array_equal(found.pop("x"), data.pop("x"))
    assert found == data


def test_text_of_python_2() -> None:
    # {'document_frequency': {('9487',): 2.0}}, as cPickle of Python 2 writes it (protocol 2).
    data = (
        b"\x80\x02}q\x01U\x12document_frequencyq\x02}q\x03U\x049487q\x04\x85q\x05"
        b"G@\x00\x00\x00\x00\x00\x00\x00ss."
    )
    assert load(data) == {"document_frequency": {("9487",): 2.0}}


class Command:
    def __reduce__(self) -> Any:
        return os.system, ("false",)


class Sleep:
    def __reduce__(self) -> Any:
        return time.sleep, (60,)


@pytest.mark.parametrize("evil", [Command(), [Sleep()], {"a": eval}, np.random.default_rng(0)])
def test_code_is_refused(evil: Any) -> None:
    with pytest.raises(InputError, match=r"the file cannot be loaded: it requires \w+\.\w+"):
        load(pickle.dumps(evil))


def test_a_few_bytes_cannot_ask_for_all_memory() -> None:
    data = pickle.dumps(np.zeros(0, np.int8), 2).replace(
        b"K\x00\x85", b"\x8a\x06\xff\xff\xff\xff\xff\x00\x85", 1
    )
    with pytest.raises(InputError, match="the file"):
        load(data)


def test_a_number_cannot_ask_for_all_memory() -> None:
    """LONG_BINPUT: the table of what is referred back to would have 4 billion places."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(InputError, match="requires more memory than is available"):
        load(b"\x80\x02}r\xff\xff\xff\xff.")
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 16 << 20  # KiB


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 200))
def test_damage_is_an_input_error(noise: bytes, cut: int) -> None:
    whole = pickle.dumps({"a": [1.0, ("b", 2)], "x": np.arange(4)}, 2)
    for data in (noise, whole[:cut], whole[:cut] + noise):
        try:
            load(data)
        except InputError as error:
            assert "the file" in str(error)
