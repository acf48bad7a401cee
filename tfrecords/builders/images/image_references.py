"""Reference captions and numbers of the images of a folder, from a file of references."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from tfrecords.core.errors import InputError
from tfrecords.formats.references import read_reference_images
from tfrecords.pictures.name_index import NameIndex


class ImageReferences(NamedTuple):
    """Captions and number of an image in a file of references.

    Attributes:
        texts: captions of the image.
        source_id: number of the image, as text; empty if it has none.
    """

    texts: tuple[str, ...] = ()
    source_id: str = ""


NO_REFERENCES = ImageReferences()


def read_image_references(path: Path, names: Collection[str]) -> dict[str, ImageReferences]:
    """Reads the references of some images from a file.

    Args:
        path: see `read_reference_images`.
        names: names of the images; matched with the names in the file by `NameIndex`.

    Returns:
        Mapping from image name to references, for the images in the file.

    Raises:
        InputError: the file cannot be read, has no caption for any of the images, or one of its
            names matches several images.
    """
    index = NameIndex(names, f"the references {path}")
    images = read_reference_images(path)
    found: dict[str, ImageReferences] = {}
    for image in images:
        if (name := index.find(image.image_id)) is not None:
            known = found.get(name, NO_REFERENCES)
            texts = known.texts + tuple(caption.text for caption in image.captions)
            found[name] = ImageReferences(texts, known.source_id or image.source_id or "")
    if not with_caption(found):
        called = sorted(image.image_id for image in images if image.captions)
        raise InputError(
            f"{path} has no caption for any image: it has captions of {called[:2]}, but the images "
            f"are named {sorted(names)[:2]}"
        )
    return found


def with_caption(references: Mapping[str, ImageReferences]) -> list[str]:
    """Returns the sorted names of the images that have a caption."""
    return sorted(name for name, found in references.items() if found.texts)
