"""Evidence that the boxes or scores of a whole file are in another format than expected.

A single box is not evidence: a detector may report a box of one pixel, and annotators draw boxes
that exceed the picture. A whole file of such boxes that fit another format is evidence. The limits
below have a wide margin: less than 1 % of the boxes of real detectors exceed their image
noticeably, and most of the same boxes do if they are read in a wrong format.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.formats.detections.box_formats import (
    BOX_FORMATS,
    WrittenBoxes,
    corners,
    describe_formats,
    is_relative,
)
from tfrecords.pictures.boxes import HIGHEST_SCORE

# Fewer boxes that contradict a format lead to a warning at most.
_LEAST_BOXES = 3
# Limit for whole numbers (a placeholder [0, 0, 1, 1]), and if no format explains the boxes.
_LEAST_WEAK_BOXES = 20
_MANY, _MOST, _NEARLY_ALL = 0.1, 0.5, 0.99
# Tolerance for boxes that exceed their image: fraction of the side, and pixels.
_MARGIN, _MARGIN_PIXELS = 0.05, 2.0
# Relative numbers are below this; pixels are only in the first pixel of an image.
_ONE = 1.05
# Relative numbers are smaller than this.
_PIXELS = 2.0
# In smaller images a box in the first pixel may be correct.
_SMALL_SIDE = 10
# Images whose boxes are counted together.
_COUNTED_TOGETHER = 512


class _Example(NamedTuple):
    """A box, or score, of a file: its place and its text."""

    place: str
    shown: str
    height: int
    width: int

    def __str__(self) -> str:
        """Returns the text for messages."""
        known = self.height and self.width
        size = f" in an image of {self.width} x {self.height} pixels" if known else ""
        return f"{self.place}: [{self.shown}]{size}"


class BoxEvidence:
    """Counts of the boxes and scores of a file that fit each format."""

    def __init__(self, path: Path, box_format: str, *, percent: bool) -> None:
        """Initializes all counts with zero.

        Args:
            path: the file, for messages.
            box_format: the expected format.
            percent: whether scores are expected in 0..100.
        """
        self._path, self._format, self._percent = path, box_format, percent
        self._pending: list[tuple[WrittenBoxes, int, int]] = []
        # All boxes; boxes in images of a known size; boxes in images that are not tiny.
        self._boxes = self._sized = self._in_large = 0
        self._fits: Counter[str] = Counter()
        # Boxes in the first pixel, and those of them with fractional numbers.
        self._first_pixel = self._fractional = self._large_numbers = 0
        self._scores = self._high_scores = 0
        self._score_range = (np.inf, -np.inf)
        self._examples: dict[str, _Example] = {}

    def add(self, image: WrittenBoxes, height: int, width: int) -> None:
        """Adds one image; `height` and `width` in pixels, 0 if unknown."""
        if not len(image.boxes):
            return
        self._pending.append((image, height, width))
        if len(self._pending) == _COUNTED_TOGETHER:
            self._count()

    def _count(self) -> None:
        pending, self._pending = self._pending, []
        if not pending:
            return
        counts = [len(image.boxes) for image, _, _ in pending]
        boxes = np.concatenate([image.boxes for image, _, _ in pending])
        scores = np.concatenate([image.scores for image, _, _ in pending])
        sizes = np.repeat(np.array([(h, w) for _, h, w in pending], np.float64), counts, axis=0)

        def first(kind: str, rows: np.ndarray, values: np.ndarray) -> None:
            """Keeps the first row with a kind of fault as its example."""
            if kind in self._examples or not rows.any():
                return
            row = int(np.argmax(rows))
            number = int(np.searchsorted(np.cumsum(counts), row, side="right"))
            image, height, width = pending[number]
            shown = ", ".join(f"{number:.6g}" for number in np.ravel(values[row]))
            self._examples[kind] = _Example(
                image.place(row - sum(counts[:number])), shown, height, width
            )

        # Four equal numbers are a placeholder for no box: [0, 0, 0, 0], [-1, -1, -1, -1].
        is_placeholder = (boxes == boxes[:, :1]).all(axis=1)
        real = np.isfinite(boxes).all(axis=1) & ~is_placeholder
        sized = real & (sizes > 0).all(axis=1)
        large = sized & (sizes >= _SMALL_SIDE).all(axis=1)
        self._boxes += int(real.sum())
        self._sized += int(sized.sum())
        self._in_large += int(large.sum())
        for name in BOX_FORMATS:
            usable = real if is_relative(name) else sized
            fits = usable & _inside(boxes, name, sizes)
            self._fits[name] += int(fits.sum())
            if name == self._format:
                first("order", usable & ~fits, boxes)
        tiny = np.abs(boxes).max(axis=1) <= _ONE
        if is_relative(self._format):
            with np.errstate(invalid="ignore"):
                edges = corners(boxes, self._format, sizes) * np.tile(sizes, 2)
                tiny = np.abs(edges).max(axis=1) <= 2 * _ONE
        tiny &= large
        self._first_pixel += int(tiny.sum())
        fractional = tiny & (boxes != np.round(boxes)).any(axis=1)
        self._fractional += int(fractional.sum())
        first("tiny", fractional if fractional.any() else tiny, boxes)
        pixels = real & (np.abs(boxes).max(axis=1) > _PIXELS)
        self._large_numbers += int(pixels.sum())
        first("pixels", pixels, boxes)
        known = scores[np.isfinite(scores)]
        if len(known):
            low, high = self._score_range
            self._score_range = (min(low, known.min()), max(high, known.max()))
        self._scores += len(known)
        self._high_scores += int((known > HIGHEST_SCORE).sum())
        with np.errstate(invalid="ignore"):
            top = HIGHEST_SCORE * (100 if self._percent else 1)
            first("score", (scores > top) | (scores < 0), scores)

    def check(self) -> None:
        """Compares the counts with the expected format.

        Raises:
            InputError: the whole file is in another format; the message contains the counts, an
                example and the option that converts it.
        """
        self._count()
        self._check_scores()
        if is_relative(self._format):
            self._check_pixels()
        self._check_first_pixel()
        self._check_order()

    def _check_scores(self) -> None:
        low, high = self._score_range
        span = f"scores from {low:g} to {high:g}"
        if self._percent:
            if self._scores >= _LEAST_BOXES and high <= 1:
                raise InputError(
                    f"{self._path}: `scores=percent` expects 0..100, but none of its "
                    f"{self._scores} scores is above 1 ({span}): leave `scores=percent` out"
                )
            expected, advice = "0..100, as `scores=percent` requires", "Expected percents"
        else:
            expected, advice = "0..1", "Convert logits to probabilities"
            if _ONE < high <= 100 * HIGHEST_SCORE and low >= 0:
                advice = (
                    "If they are percents, add `,scores=percent` after the file name; "
                    "convert logits to probabilities"
                )
        if "score" not in self._examples:
            return
        example = self._examples["score"]
        raise InputError(
            f"{example.place} has the score {example.shown}, expected {expected}: "
            f"{self._high_scores} of {self._scores} scores are above 1 ({span}). {advice}"
        )

    def _check_pixels(self) -> None:
        """Checks for pixels if fractions are expected."""
        if self._large_numbers < _MOST * self._boxes or not self._large_numbers:
            return
        fitting = self._fitting(relative=False) or [self._format.partition("_")[2]]
        message = (
            f"{self._path}: {self._large_numbers} of {self._boxes} boxes have numbers above "
            f"{_PIXELS:g}, for example {self._examples['pixels']}. Expected fractions of the image "
            f"in 0..1 (`boxes={self._format}`). If they are pixels, add `,boxes={fitting[0]},"
            "sizes=FILE` after the file name, where FILE is a JSON with the sizes of the "
            "images (`images`: file_name, width, height)"
        )
        self._refuse(message, sure=self._large_numbers >= _LEAST_BOXES)

    def _check_first_pixel(self) -> None:
        """Checks for fractions if pixels are expected."""
        if not self._first_pixel or self._first_pixel < _NEARLY_ALL * self._in_large:
            return
        sure = max(self._fractional, self._first_pixel * _LEAST_BOXES // _LEAST_WEAK_BOXES)
        if is_relative(self._format):
            message = (
                f"{self._path}: all of its {self._first_pixel} boxes lie in the first pixels of "
                f"their image, for example {self._examples['tiny']}. Their source was read in the "
                "wrong format: build them again with `boxes=FORMAT`"
            )
        else:
            flags = describe_formats(self._fitting(relative=True) or ["relative_xywh"])
            message = (
                f"{self._path}: {self._first_pixel} of {self._in_large} boxes have no number above "
                f"1, for example {self._examples['tiny']}. Expected pixels "
                f"(`boxes={self._format}`). If they are fractions of the image, add a comma "
                f"and {flags} after the file name"
            )
        self._refuse(message, sure=sure >= _LEAST_BOXES)

    def _check_order(self) -> None:
        """Checks for another order of the four numbers, or another size of the images."""
        total = self._boxes if is_relative(self._format) else self._sized
        misfits = total - self._fits[self._format]
        if not misfits or misfits < _MANY * total:
            return
        found = (
            f"{self._path}: {misfits} of {total} boxes do not fit into their image when they are "
            f"read as `boxes={self._format}`, for example {self._examples['order']}"
        )
        if fitting := self._fitting(relative=is_relative(self._format)):
            self._refuse(
                f"{found}. All fit as {describe_formats(fitting)}: add a comma and that option "
                "after the file name",
                sure=misfits >= _LEAST_BOXES,
            )
        elif misfits >= _MOST * total:
            self._refuse(
                f"{found}, and no format fits all. Are width and height those of the images that "
                "the detector processed? Correct the sizes or the boxes",
                sure=misfits >= _LEAST_WEAK_BOXES,
            )

    def _fitting(self, *, relative: bool) -> list[str]:
        """Returns the other formats of pixels, or of fractions, that nearly all boxes fit."""
        total = self._boxes if relative else self._sized
        return [
            name
            for name in BOX_FORMATS
            if name != self._format
            and is_relative(name) == relative
            and total
            and self._fits[name] >= _NEARLY_ALL * total
        ]

    def _refuse(self, message: str, *, sure: bool) -> None:
        if sure:
            raise InputError(message)
        logging.warning("%s", message)


def _inside(boxes: np.ndarray, box_format: str, sizes: np.ndarray) -> np.ndarray:
    """Returns bool [N]: whether each box is not inverted and inside its image, with a margin."""
    with np.errstate(invalid="ignore", divide="ignore"):
        edges = corners(boxes, box_format, sizes)
        margin = np.where(sizes > 0, _MARGIN + _MARGIN_PIXELS / np.maximum(sizes, 1), _MARGIN)
        low, high = edges[:, :2], edges[:, 2:]
        fits = np.all((low >= -margin) & (high <= 1 + margin) & (high >= low), axis=1)
    return np.asarray(fits)
