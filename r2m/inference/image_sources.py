"""Images in the forms of Python programs: paths, bytes, arrays and PIL images."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import normalize_name
from tfrecords.pictures.image_files import check_image, read_file
from tfrecords.pictures.image_formats import encode_png

_ACCEPTED = (
    "expected a path, the bytes of an encoded image, a PIL image, or an array uint8 [H, W, 3], "
    "[H, W, 4] or [H, W]"
)
# Pillow reads a file when its pixels are first accessed, and an image may be given twice.
_loading = threading.Lock()


class GivenImage(NamedTuple):
    """An image that a program gave (an `ImageSource`).

    Attributes:
        name: the path, or the index among the images.
        given: the image as it was given: path, bytes, array or PIL image.
        content: path, bytes or PIL image.
    """

    name: str
    given: Any
    content: Path | bytes | Image.Image

    def read(self) -> bytes | Skip:
        """Returns the encoded image; see `tfrecords.pictures.image_files.read_file`."""
        if isinstance(self.content, Path):
            return read_file(self.content, self.name)
        if isinstance(self.content, bytes):
            return check_image(self.name, self.content)
        try:
            with _loading:
                self.content.load()
            return encode_png(self.content)
        # Pillow reads files lazily: a damaged or closed one can raise any exception.
        except Exception as error:
            return Skip(self.name, "unreadable", str(error))


def image_sources(images: Any) -> Iterator[GivenImage]:
    """Yields one image, the images of an array [B, H, W, C], or those of an iterable, lazily.

    Raises:
        InputError: an object is not an image.
    """
    for number, image in enumerate(_each(images)):
        yield _source(image, number)


def path_sources(images: Any) -> Iterator[GivenImage]:
    """Yields images given as paths; raises `InputError` for all others."""
    for source in image_sources(images):
        if not isinstance(source.content, Path):
            raise InputError(
                f"{source.name}: detections are matched by the names of image files: give paths "
                "with detections, or lists of concepts (caption_concepts)"
            )
        yield source


def _each(images: Any) -> Iterable[Any]:
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return [images]
    if hasattr(images, "__array__"):
        array = np.asarray(images)
        # Several images, or paths in an array or a column of a table.
        paths = array.ndim == 1 and array.dtype.kind in "OU"
        return array if array.ndim == 4 or paths else [images]
    # Files and mappings are iterables, but not of images.
    if not isinstance(images, Iterable) or isinstance(images, Mapping | io.IOBase):
        raise InputError(f"{_kind(images)} is not an image or iterable of images: {_ACCEPTED}")
    return images


def _source(image: Any, number: int) -> GivenImage:
    name = f"image {number}"
    if isinstance(image, str | os.PathLike):
        path = Path(os.fsdecode(image))
        return GivenImage(normalize_name(path.as_posix()), image, path)
    if isinstance(image, bytes | bytearray | memoryview):
        return GivenImage(name, image, bytes(image))
    if isinstance(image, Image.Image):
        return GivenImage(name, image, image)
    if hasattr(image, "__array__"):
        # Copied, because a generator may reuse its array for the next image.
        return GivenImage(name, image, _picture(np.array(image), name))
    raise InputError(f"{name} is {_kind(image)}: {_ACCEPTED}")


def _picture(array: np.ndarray, name: str) -> Image.Image:
    """Returns an array as a PIL image; raises `InputError` for one of another type or shape."""
    if array.dtype != np.uint8:
        hint = ""
        if np.issubdtype(array.dtype, np.floating):
            hint = "; convert values in 0..1 by (255 * image).round().astype(numpy.uint8)"
        raise InputError(f"{name} is an array of {array.dtype}: expected uint8 in 0..255{hint}")
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        raise InputError(
            f"{name} is an array of shape {array.shape}: expected [H, W, 3], [H, W, 4] or [H, W]"
        )
    if 0 in array.shape:
        raise InputError(f"{name} is an array of shape {array.shape}: it has no pixels")
    return Image.fromarray(array)


def _kind(value: Any) -> str:
    return f"an object of type {type(value).__name__}"
