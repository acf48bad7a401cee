"""Sizes of captioned images, and conversion of their boxes in pixels."""

from __future__ import annotations

from dataclasses import replace

from tfrecords.builders.captions.splits import Choice
from tfrecords.core.errors import InputError
from tfrecords.formats.features.pixel_boxes import fit_in, place_boxes
from tfrecords.formats.features.types import StoredFeatures
from tfrecords.pictures.headers import ImageHeader
from tfrecords.pictures.orientation import upright_boxes


def images_without_size(choice: Choice) -> list[str]:
    """Returns the names of the images whose sources do not contain their heights and widths."""
    images = (chosen.image for rows in choice.splits.values() for chosen in rows)
    return [image.image_id for image in images if not (image.height and image.width)]


def image_size(declared: tuple[int, int], picture: ImageHeader | None) -> tuple[int, int]:
    """Returns the upright height and width of an image in pixels; 0 if unknown.

    Args:
        declared: height and width according to the captions, 0 if missing. They may be the size
            of a larger copy of the picture, or of the picture before rotation.
        picture: header of the picture; None if it is not read.
    """
    if picture is not None and (0 in declared or declared == picture.stored_size):
        return picture.height, picture.width
    return declared


def upright_features(
    found: StoredFeatures, size: tuple[int, int], picture: ImageHeader | None, where: str
) -> StoredFeatures:
    """Returns features with the boxes, height and width of the upright picture.

    A detector that ignores EXIF orientation processed the picture before rotation. This is detected
    by the size stored with its boxes or, without a size, by boxes that only fit the unrotated
    picture.

    Args:
        found: features of the image.
        size: see `image_size`; for boxes in pixels if the store does not contain the size.
        picture: header of the picture; None if it is not read.
        where: name of the image in messages.

    Raises:
        InputError: the boxes exceed the image; or see `place_boxes`.
    """
    stored = None
    if picture is not None and picture.stored_size != (picture.height, picture.width):
        stored = picture.stored_size
    if found.corners is not None and all(size):
        frames = [frame for frame in (size, stored) if frame and fit_in(found.corners, *frame)]
        if not frames:
            right, bottom = found.corners[:, 2:].max(axis=0)
            raise InputError(
                f"{where}: its boxes reach {right:g} x {bottom:g} pixels, but the image has "
                f"{size[1]} x {size[0]}: they refer to a picture of another size. Add ,sizes=FILE "
                "(a COCO JSON with their widths and heights) to the path of the features"
            )
        found = place_boxes(found, *frames[0], where)
    if picture is None or (found.height, found.width) != stored:
        return found
    boxes = None if found.boxes is None else upright_boxes(found.boxes, picture.orientation)
    return replace(found, boxes=boxes, height=picture.height, width=picture.width)
