"""Splits of sources for single splits, with lists of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfrecords.builders.captions.splits import Choice, choose_images
from tfrecords.core.errors import InputError
from tfrecords.formats.paired.types import Caption, PairedDataset, PairedImage

LISTS = {"train": ["a.jpg", "b.jpg"], "dev": ["c.jpg"]}


def dataset(text: str, letters: str, given_split: str | None = None) -> PairedDataset:
    images = [
        PairedImage(image_id=f"{letter}.jpg", place="here", captions=(Caption(text),))
        for letter in letters
    ]
    return PairedDataset(images=images, files=(Path("x"),), given_split=given_split)


def texts(choice: Choice) -> dict[str, dict[str, str]]:
    return {
        split: {own.image.image_id: own.captions[0].text for own in images}
        for split, images in choice.splits.items()
    }


def test_each_source_has_the_listed_images_of_its_split() -> None:
    sources = [dataset("generated", "abc", "train"), dataset("written", "abcd", "val")]
    choice = choose_images(sources, LISTS, train_only=False)
    assert texts(choice) == {
        "train": {"a.jpg": "generated", "b.jpg": "generated"},
        "val": {"c.jpg": "written"},
    }
    assert choice.dropped == {"not_listed": 4}


def test_without_a_given_split_the_lists_decide() -> None:
    choice = choose_images([dataset("written", "abcd")], LISTS, train_only=False)
    assert {split: set(own) for split, own in texts(choice).items()} == {
        "train": {"a.jpg", "b.jpg"}, "val": {"c.jpg"},
    }  # fmt: skip
    sources = [dataset("generated", "abc"), dataset("written", "abc")]
    with pytest.raises(InputError, match=r"two images are named 'a\.jpg'"):
        choose_images(sources, LISTS, train_only=False)


def test_a_list_without_images_of_its_split_is_rejected() -> None:
    with pytest.raises(InputError, match="no caption for any image of split 'dev'"):
        choose_images([dataset("generated", "abc", "train")], LISTS, train_only=False)
