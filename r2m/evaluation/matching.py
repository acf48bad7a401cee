"""Matching of predictions with images when files name images in different ways.

Predictions and references identify an image by its COCO number, its file name, the end of its path
or its name without suffix. One way of matching is chosen for a whole file: the first one in `WAYS`
that matches every prediction with a different image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from r2m.evaluation.output_files import name_some
from tfrecords.core.errors import InputError
from tfrecords.core.text_files import normalize_name


@dataclass(frozen=True, slots=True)
class ImageLabel:
    """Names of an image in a file.

    Attributes:
        name: its file name, normalized by `normalize_name`; the id if the file has no name.
        id: its id as text; the name if the file has no id.
        has_integer_id: whether the id is a JSON integer, and so certainly an id.
    """

    name: str
    id: str
    has_integer_id: bool = False

    @classmethod
    def of(cls, image_id: str | int | None, name: str | None = None) -> ImageLabel:
        """Returns the label of an image with an id, a file name or both."""
        text = normalize_name(str(name if image_id is None else image_id))
        return cls(
            name=text if name is None else normalize_name(name),
            id=text,
            has_integer_id=isinstance(image_id, int),
        )

    def __str__(self) -> str:
        """Returns the name of the image for messages."""
        return self.name if self.name == self.id else f"{self.name} (id {self.id})"


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name


def _number(name: str) -> str | None:
    """Returns the number at the end of a file name: 42 for `COCO_val2014_000000000042.jpg`."""
    stem = PurePosixPath(_without_suffix(name)).name
    head = stem.rstrip("0123456789")
    return (stem[len(head) :].lstrip("0") or "0") if len(head) < len(stem) else None


_ID = "id"
WAYS: dict[str, Callable[[ImageLabel], str | None]] = {
    "file name": lambda label: label.name,
    _ID: lambda label: label.id,
    "file name without folders": lambda label: PurePosixPath(label.name).name,
    "file name without suffix": lambda label: _without_suffix(label.name),
    "file name without folders and suffix": lambda label: (
        PurePosixPath(_without_suffix(label.name)).name
    ),
    "number at the end of the file name": lambda label: _number(label.name),
}
"""Ways of matching, the most exact first -> part of a label that must agree."""


def match_images(
    predicted: Sequence[ImageLabel], referenced: Sequence[ImageLabel]
) -> tuple[str, list[int | None]]:
    """Finds the image of every prediction.

    Args:
        predicted: labels of N predictions.
        referenced: labels of M images with references.

    Returns:
        The way in `WAYS` that was used, and the index of the image of each prediction, or None. If
        no way matches all predictions, it is the way that matches most.

    Raises:
        InputError: no prediction matches, or two ways match all predictions with different images.
    """
    found = {way: _match(predicted, referenced, part) for way, part in WAYS.items()}
    complete = [way for way, places in found.items() if None not in places]
    if not complete:
        best = max(found, key=lambda way: sum(place is not None for place in found[way]))
        if all(place is None for place in found[best]):
            raise InputError(
                "no prediction matches an image with references. Predictions are named "
                f"{_some(predicted)}; references {_some(referenced)}. They match by file name "
                "(with or without folders and suffix), by id, or by the number at the end of the "
                "file name: use one of these on both sides"
            )
        return best, found[best]
    way, are_ids = complete[0], all(label.has_integer_id for label in predicted)
    if are_ids and found[way] == found[_ID]:
        # Files without names match by their ids, which replace the names.
        way = _ID
    elif way == _ID:
        for other in complete[1:]:
            _check_same(predicted, referenced, found[way], found[other], other)
    return way, found[way]


def _check_same(
    predicted: Sequence[ImageLabel],
    referenced: Sequence[ImageLabel],
    by_id: Sequence[int | None],
    by_other: Sequence[int | None],
    other: str,
) -> None:
    for label, one, two in zip(predicted, by_id, by_other, strict=True):
        if one != two and one is not None and two is not None:
            raise InputError(
                f"the prediction of {str(label)!r} matches {str(referenced[one])!r} by its id, but "
                f"{str(referenced[two])!r} by the {other}: give whole file names, or integers as "
                "`image_id` of COCO results"
            )


def _match(
    predicted: Sequence[ImageLabel],
    referenced: Sequence[ImageLabel],
    part: Callable[[ImageLabel], str | None],
) -> list[int | None]:
    """Returns the image of each prediction; None if no image, or more than one, has its name."""
    keys = [part(label) for label in referenced]
    counts = Counter(keys)
    places = {key: place for place, key in enumerate(keys) if counts[key] == 1}
    wanted = [part(label) for label in predicted]
    times = Counter(wanted)
    return [places.get(key) if key is not None and times[key] == 1 else None for key in wanted]


def _some(labels: Sequence[ImageLabel]) -> str:
    return name_some(map(str, labels), 3)
