"""Matching of predictions and references: one rule per file, without guessing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2m.evaluation.matching import WAYS, ImageLabel, match_images
from tfrecords.core.errors import InputError

COCO = [ImageLabel.of(n, f"val2014/COCO_val2014_{n:012}.jpg") for n in (42, 139, 7)]
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("predicted", "way"),
    [
        (lambda n: ImageLabel.of(n), "id"),
        (lambda n: ImageLabel.of(str(n)), "id"),
        (lambda n: ImageLabel.of(n, f"other_{n + 1}.png"), "id"),
        (lambda n: ImageLabel.of(f"val2014/COCO_val2014_{n:012}.jpg"), "file name"),
        (lambda n: ImageLabel.of(f".\\val2014\\COCO_val2014_{n:012}.jpg"), "file name"),
        (lambda n: ImageLabel.of(f"COCO_val2014_{n:012}.jpg"), "file name without folders"),
        (lambda n: ImageLabel.of(f"x/COCO_val2014_{n:012}.jpg"), "file name without folders"),
        (lambda n: ImageLabel.of(f"val2014/COCO_val2014_{n:012}"), "file name without suffix"),
        (
            lambda n: ImageLabel.of(f"COCO_val2014_{n:012}.png"),
            "file name without folders and suffix",
        ),
        (lambda n: ImageLabel.of(f"{n:012}.jpg"), "number at the end of the file name"),
        (lambda n: ImageLabel.of(f"{n:06}"), "number at the end of the file name"),
    ],
)
def test_every_usual_name_finds_its_image(predicted: Callable[[int], ImageLabel], way: str) -> None:
    assert match_images([predicted(n) for n in (7, 42)], COCO) == (way, [2, 0])


@given(st.lists(names, min_size=1, max_size=6, unique=True), st.randoms())
def test_equal_names_match_in_any_order(found: list[str], random: object) -> None:
    labels = list(dict.fromkeys(map(ImageLabel.of, found)))
    order = list(range(len(labels)))
    random.shuffle(order)  # type: ignore[attr-defined]
    way, places = match_images([labels[i] for i in order], labels)
    assert (way, places) == ("file name", order)


@given(st.lists(names, max_size=5), st.lists(names, min_size=1, max_size=5))
def test_no_image_has_two_predictions(predicted: list[str], referenced: list[str]) -> None:
    try:
        way, places = match_images(
            list(map(ImageLabel.of, predicted)), list(map(ImageLabel.of, referenced))
        )
    except InputError:
        return
    found = [place for place in places if place is not None]
    assert way in WAYS and len(set(found)) == len(found)


def test_names_that_repeat_in_other_folders_are_no_match() -> None:
    referenced = [ImageLabel.of(f"{study}/0.png") for study in ("a", "b", "c")]
    assert match_images(referenced[::-1], referenced)[1] == [2, 1, 0]
    predicted = [ImageLabel.of("a/0.png"), ImageLabel.of("0.png")]
    assert match_images(predicted, referenced) == ("file name", [0, None])
    with pytest.raises(InputError, match=r"no prediction .* named '0\.png'; references 'a/0\.png'"):
        match_images(predicted[1:], referenced)


def test_ids_that_could_be_file_names_are_refused() -> None:
    referenced = [ImageLabel.of(1, "2.jpg"), ImageLabel.of(2, "1.jpg")]
    with pytest.raises(
        InputError,
        match=r"'1' matches '2\.jpg \(id 1\)' by its id, but '1\.jpg \(id 2\)' by the file name wi",
    ):
        match_images([ImageLabel.of("1"), ImageLabel.of("2")], referenced)
    assert match_images([ImageLabel.of(1), ImageLabel.of(2)], referenced) == ("id", [0, 1])
    assert match_images([ImageLabel.of("1.jpg")], referenced) == ("file name", [1])


def test_numbers_without_names_on_both_sides_match_by_id() -> None:
    predicted = [ImageLabel.of(7), ImageLabel.of(42)]
    assert match_images(predicted, [ImageLabel.of("42"), ImageLabel.of("7")]) == ("id", [1, 0])
