"""Reader of reference captions by image, in the formats of images with captions."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.formats.json_stream import JSON_LINES_SUFFIXES
from tfrecords.formats.paired.reading import (
    PairedSource,
    UnknownFormatError,
    detect_format,
    read_paired,
)
from tfrecords.formats.paired.types import PairedImage

_FORMATS = (
    "Flickr8k/30k `name#number<TAB>caption`, a table (CSV, TSV) with the columns `image` and "
    "`caption`, COCO captions JSON (`images` and `annotations`), Karpathy JSON (`images` with "
    "`sentences` or `captions`), or a JSON list or JSON Lines of `{file_path, captions}`"
)
_KNOWN = ("coco", "karpathy", "flickr", "imageclef", "json_list")


def read_references(path: str | Path) -> dict[str, list[str]]:
    """Reads the human-written captions of images.

    Args:
        path: a file in one of the formats of `r2m-build-captions`: Flickr8k/30k token file, table
            with columns of images and captions, COCO or Karpathy JSON, JSON list or JSON Lines.

    Returns:
        Mapping from the name of the image in the file (with folders) to its captions, in the order
        of the file.

    Raises:
        InputError: the file is missing, malformed or has no caption.
    """
    captions: dict[str, list[str]] = defaultdict(list)
    for image in read_reference_images(path):
        if image.captions:
            captions[image.image_id] += [caption.text for caption in image.captions]
    return dict(captions)


def read_reference_images(path: str | Path) -> list[PairedImage]:
    """Reads the images of a file of references, with their captions and numbers.

    Args:
        path: see `read_references`.

    Returns:
        The images in the order of the file, including images without a caption.

    Raises:
        InputError: see `read_references`.
    """
    path = Path(path)
    try:
        form = _format(path)
        dataset = read_paired(PairedSource(str(path), form))
    except UnknownFormatError:
        raise InputError(f"{path} is malformed: expected {_FORMATS}") from None
    except InputError as error:
        if not path.exists():
            raise
        raise InputError(f"the reference captions are malformed: {error}") from error
    left_out = (
        f"{dataset.skipped[0].source}: {dataset.skipped[0].detail}" if dataset.skipped else ""
    )
    if not any(image.captions for image in dataset.images):
        raise InputError(
            f"{path} contains no captions ({left_out or 'nothing'}); expected {_FORMATS}"
        )
    if any(skip.reason == "undecodable" for skip in dataset.skipped):
        raise InputError(f"{left_out}; correct {path}")
    if left_out:
        logging.warning("%d captions were left out; %s", len(dataset.skipped), left_out)
    return dataset.images


def _format(path: Path) -> str:
    try:
        form = detect_format(path)
    except UnknownFormatError:
        if path.suffix.lower() in (".json", *JSON_LINES_SUFFIXES):
            raise
        # This reader reports the malformed line.
        return "flickr"
    if form not in _KNOWN:
        raise UnknownFormatError
    return form
