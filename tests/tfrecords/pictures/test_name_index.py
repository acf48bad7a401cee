"""Names of images: the forms that match, and those that could be several images."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords.pictures.name_index import AmbiguousNameError, NameIndex, find_stored, name_forms

COCO = "COCO_val2014_000000000042"


def find(stored: list[str], *wanted: str) -> str | None:
    """Returns the result of both ways of looking up, which must agree."""
    found = NameIndex(stored, "x.h5").find(*wanted)
    assert find_stored(wanted, stored.__contains__, lambda: NameIndex(stored, "x.h5")) == found
    return found


def test_forms_of_a_name():
    assert name_forms(f"val2014/{COCO}.jpg") == (f"val2014/{COCO}.jpg", f"{COCO}.jpg", COCO, "42")
    assert name_forms("000000391895.jpg")[1:] == ("000000391895.jpg", "000000391895", "391895")
    assert name_forms("1000268201_693b08cb0e.jpg")[2:] == ("1000268201_693b08cb0e", "")
    assert name_forms("42") == ("42",) * 4
    # A number with points, as DICOM has them, has no suffix.
    assert name_forms("1.2.840.113").stem == "1.2.840.113"
    assert name_forms("a\\b.jpg").base == "b.jpg"


@pytest.mark.parametrize("stored", ["42", "000000000042", COCO, f"{COCO}.jpg", f"train/{COCO}.npz"])
@pytest.mark.parametrize(
    "wanted", ["42", "000000000042.jpg", f"val2014/{COCO}.jpg", f"{COCO}.png", "0042"]
)
def test_spellings_of_one_image(stored: str, wanted: str):
    assert find(["41", stored, "043"], wanted) == stored
    assert find(["41", stored, "043"], "nothing", wanted) == stored


def test_no_match():
    assert find(["42", "a.jpg"], "b.jpg", "4", "") is None
    assert find([], "42") is None


def test_the_more_exact_name_wins():
    stored = ["s1/0.png", "s2/0.png", "a.jpg", "a.png"]
    assert find(stored, "s2/0.png") == "s2/0.png"
    assert find(stored, "images/s2/0.png") == "s2/0.png"
    assert find(stored, "a.png", "7") == "a.png"
    # Folders that both sides name must agree, but for COCO's own names.
    assert find(["s1/0.png"], "s3/0.png") is None
    assert find([f"val2014/{COCO}.jpg"], f"coco/{COCO}.jpg") == f"val2014/{COCO}.jpg"
    assert find(["val2014/000000000042"], "42") == "val2014/000000000042"


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (["42", "000000000042"], ["42"]),
        (["000000000042", "0042"], [f"{COCO}.jpg"]),
        (["42", f"{COCO}.jpg"], ["42", f"{COCO}.jpg"]),
        (["s1/0.png", "s2/0.png"], ["0.png"]),
        (["a.jpg", "a.png"], ["a"]),
        # The number of one image is the file name of another one.
        (["3", "7"], ["7", "3.jpg"]),
        (["3.npy", "7"], ["7", "3.jpg"]),
    ],
)
def test_several_images_of_one_name(stored: list[str], wanted: list[str]):
    first, second = map(repr, sorted(stored))
    with pytest.raises(AmbiguousNameError, match=rf"x\.h5: image .* any of {first}, {second}: "):
        find(stored, *wanted)


def test_unicode_forms():
    composed = "caf\u00e9.jpg"
    decomposed = unicodedata.normalize("NFD", composed)
    assert find([decomposed], composed) == decomposed
    assert find([decomposed, composed], decomposed) == decomposed


@given(
    st.lists(
        st.from_regex(r"[a-c]{0,2}/?[a-c0]{0,2}[1-9]{0,2}(\.jpg)?", fullmatch=True), max_size=6
    ),
    st.from_regex(r"([a-c]/)?[a-c0-9]{1,3}(\.(jpg|npy))?", fullmatch=True),
)
def test_a_name_that_is_stored_is_never_taken_for_another_one(stored: list[str], wanted: str):
    try:
        found = find([*stored, wanted], wanted)
    except AmbiguousNameError:
        assert wanted.isdigit()
    else:
        assert found == wanted


def test_thousands_of_studies_may_have_the_same_file_names():
    names = [f"study{study}/{view}.png" for study in range(4000) for view in range(2)]
    index = NameIndex(names, "here")
    started = time.process_time()
    for name in names:
        assert index.find(f"images/{name}") == index.find(name.removesuffix(".png")) == name
    # Comparing each with each takes minutes.
    assert time.process_time() - started < 10
