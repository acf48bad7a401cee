"""Splits of paired sources: selection of images, and numbering of captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePosixPath

from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_names
from tfrecords.core.shards import Skip, describe_skips
from tfrecords.formats.paired.reading import SPLITS
from tfrecords.formats.paired.types import Caption, PairedDataset, PairedImage
from tfrecords.pictures.image_names import base_name

_RESTVAL = "restval"


@dataclass(frozen=True)
class ChosenImage:
    """An image selected for the records.

    Attributes:
        image: the image of the source.
        split: name of the split in the source or the list.
        captions: [S] with their `caption_id`.
        fixed_words: whether the source has already split its captions and selected their words.
    """

    image: PairedImage
    split: str
    captions: tuple[Caption, ...]
    fixed_words: bool


@dataclass
class Choice:
    """The images selected for each split, and the omitted images.

    Attributes:
        splits: split of the records -> its images, `train`, `val`, `test` in this order.
        skipped: omitted images, each with a reason.
        dropped: reason -> number of omitted images that were not requested.
    """

    splits: dict[str, list[ChosenImage]] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def choose_images(
    datasets: Sequence[PairedDataset], lists: Mapping[str, Sequence[str]], *, train_only: bool
) -> Choice:
    """Divides the images of all sources into the splits of the records.

    `restval` becomes part of `train`, `dev` becomes `val`. Captions without a number in their
    source are numbered in reading order over all sources.

    Args:
        datasets: the sources.
        lists: split -> names of its images (paths, unambiguous file names, or names in the source);
            if there are lists, only they define the splits, and a source with a given split keeps
            only the listed images of this split. If empty, the sources define the splits.
        train_only: omits `restval`.

    Raises:
        InputError: an image has no split or an unknown one, two images have the same name, no image
            of a list has captions, or no image is selected.
    """
    listed = _Lists(lists, datasets) if lists else None
    choice = Choice(splits={split: [] for split in dict.fromkeys(SPLITS.values())})
    places: dict[str, str] = {}
    numbered = 0
    for dataset in datasets:
        known = all(c.caption_id is not None for image in dataset.images for c in image.captions)
        for image in dataset.images:
            first = numbered
            numbered += len(image.captions)
            split = listed.split_of(image, dataset.given_split) if listed else _own_split(image)
            if split is None:
                choice.dropped["not_listed"] += 1
                continue
            if split == _RESTVAL and train_only:
                choice.dropped[_RESTVAL] += 1
                continue
            if image.image_id in places:
                raise InputError(
                    f"two images are named {image.image_id!r}: {places[image.image_id]} and "
                    f"{image.place}; names must be unique, give each source once"
                )
            places[image.image_id] = image.place
            if not image.captions:
                choice.skipped.append(Skip(image.image_id, "no_caption", image.place))
                continue
            captions = image.captions
            if not known:
                captions = tuple(
                    Caption(c.text, c.tokens, number) for number, c in enumerate(captions, first)
                )
            chosen = ChosenImage(image, split, captions, dataset.words is not None)
            choice.splits[SPLITS[split]].append(chosen)
    if listed:
        choice.skipped += listed.not_found(datasets)
    choice.splits = {split: images for split, images in choice.splits.items() if images}
    if not choice.splits:
        every = [image.image_id for dataset in datasets for image in dataset.images]
        raise InputError(
            f"none of the {describe_names(every)} of the sources is left: "
            f"{len(choice.skipped)} have no caption ({describe_skips(choice.skipped, 2) or 'none'})"
            f", {dict(choice.dropped)} were not requested"
        )
    return choice


def _own_split(image: PairedImage) -> str:
    if image.split is None:
        raise InputError(
            f"{image.place}: the split of image {image.image_id!r} is unknown; write it "
            "before the path (train=PATH), or give lists of images (--split=train=FILE)"
        )
    split = image.split.lower()
    if split not in SPLITS:
        raise InputError(
            f"{image.place}: image {image.image_id!r} is in split {image.split!r}; known: "
            f"{', '.join(SPLITS)}"
        )
    return split


class _Lists:
    """The lists of names, and the names found so far."""

    def __init__(
        self, lists: Mapping[str, Sequence[str]], datasets: Sequence[PairedDataset]
    ) -> None:
        for split in lists:
            if split not in SPLITS:
                raise InputError(f"a list for split {split!r}; known: {', '.join(SPLITS)}")
        self._lists = lists
        self._names = {name: (split, name) for split, names in lists.items() for name in names}
        # Names in lists may contain folders that the captions do not contain.
        bare = Counter(PurePosixPath(name).name for name in self._names)
        for name, entry in list(self._names.items()):
            base = PurePosixPath(name).name
            if bare[base] == 1:
                self._names.setdefault(base, entry)
        self._found: set[str] = set()
        # A name without folder must match a single image.
        names = {image.image_id for dataset in datasets for image in dataset.images}
        self._bases = Counter(map(base_name, names))

    def split_of(self, image: PairedImage, given: str | None = None) -> str | None:
        """Returns the split whose list contains the image; None if none does, or another split's.

        Args:
            image: an image of a source.
            given: the split that the images of this source may be in; None for any.
        """
        path = PurePosixPath(image.image_id)
        keys = [image.file, image.image_id, image.source_id, str(path.with_suffix(""))]
        if self._bases[path.name] == 1:
            keys += [path.name, path.stem]
        for key in keys:
            if key is not None and key in self._names:
                split, name = self._names[key]
                if given is not None and SPLITS[given] != SPLITS[split]:
                    return None
                self._found.add(name)
                return split
        return None

    def not_found(self, datasets: Sequence[PairedDataset]) -> list[Skip]:
        """Returns a `Skip` for every name that no source contains.

        Raises:
            InputError: no source contains any name of a list.
        """
        skipped: list[Skip] = []
        for split, names in self._lists.items():
            missing = [name for name in names if name not in self._found]
            if len(missing) == len(names):
                known = [i.image_id for i in chain(*(d.images for d in datasets))][:3]
                raise InputError(
                    f"no caption for any image of split {split!r}: its list contains {names[:3]}, "
                    f"the captions are of {known}"
                )
            skipped += [
                Skip(name, "no_caption", f"{split}: no source contains it") for name in missing
            ]
        return skipped
