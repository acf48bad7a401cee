"""The sizes of captioned images, and boxes in pixels of images of these sizes."""

from __future__ import annotations

from dataclasses import replace

from tfrecords.captions.splits import Choice
from tfrecords.errors import InputError
from tfrecords.feature_stores import StoredFeatures
from tfrecords.feature_stores.boxes import fit_in, place_boxes
from tfrecords.images.headers import ImageHeader
from tfrecords.images.orientation import upright_boxes


def images_without_size(choice: Choice) -> list[str]:
    """Returns the names of the images whose sources do not tell their heights and widths."""
    images = (chosen.image for rows in choice.splits.values() for chosen in rows)
    return [image.image_id for image in images if not (image.height and image.width)]


def image_size(told: tuple[int, int], picture: ImageHeader | None) -> tuple[int, int]:
    """Returns height and width of an image, pixels, upright; 0 where nothing tells them.

    Args:
        told: height and width according to the captions, 0 where they do not tell. They may be
            those of a larger copy of the picture, or of the rows as they are stored.
        picture: header of the picture; None where it is not read.
    """
    if picture is not None and (0 in told or told == picture.stored_size):
        return picture.height, picture.width
    return told


def upright_features(
    found: StoredFeatures, size: tuple[int, int], picture: ImageHeader | None, where: str
) -> StoredFeatures:
    """Returns features whose boxes, height and width are those of the upright picture.

    A detector that ignores EXIF orientation saw the rows as they are stored: the size that comes
    with its boxes tells, or, where none does, that its boxes fit into the stored rows alone.

    Args:
        found: features of the image.
        size: see `image_size`; for boxes in pixels whose store does not know it.
        picture: header of the picture; None where it is not read.
        where: what to call the image in messages.

    Raises:
        InputError: the boxes do not lie in the image; or see `place_boxes`.
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
                f"{size[1]} x {size[0]}: they are of a picture of another size. Add ,sizes=FILE "
                "(a COCO JSON with their widths and heights) to the path of the features"
            )
        found = place_boxes(found, *frames[0], where)
    if picture is None or (found.height, found.width) != stored:
        return found
    boxes = None if found.boxes is None else upright_boxes(found.boxes, picture.orientation)
    return replace(found, boxes=boxes, height=picture.height, width=picture.width)
