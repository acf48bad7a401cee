"""Types returned by all readers of images with captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tfrecords.core.shards import Skip
from tfrecords.formats.features.types import FeatureStore


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption of an image.

    Attributes:
        text: the original text.
        tokens: its words, if the source has already split it; otherwise None.
        caption_id: its number in the source; None if it has none.
    """

    text: str
    tokens: tuple[str, ...] | None = None
    caption_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedImage:
    """One image and its captions.

    Attributes:
        image_id: file name without folder (with folder if names alone are ambiguous, as in `xray`);
            without a file name, the number in the source as text.
        place: place in the source, for messages: `path:line`.
        captions: [S]; may be empty.
        source_id: name in the source in addition to the file name (cocoid, imgid, id), as text.
        file: path relative to the folder of images; None if the source names no file.
        split: split in the source (`restval`, `dev`); None if missing.
        height: pixels; None if missing.
        width: pixels; None if missing.
        read: returns the encoded picture (JPEG, PNG), if the source contains it; picklable.
    """

    image_id: str
    place: str
    captions: tuple[Caption, ...]
    source_id: str | None = None
    file: str | None = None
    split: str | None = None
    height: int | None = None
    width: int | None = None
    read: Callable[[], bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class PairedDataset:
    """All images of a source.

    Attributes:
        images: the images, in the order of the source.
        files: the files that were read, for the manifest.
        skipped: captions that could not be read.
        default_split: the split of images without one, from the name of the file.
        given_split: the split of all images as given on the command line; None if it was not.
        words: the source's vocabulary without markers, if captions are stored as word ids; then
            every caption has `tokens`, and `<unk>` replaces out-of-vocabulary words.
        features: features of the images that come with the source.
        entities: captions with HTML entities, which were decoded.
    """

    images: list[PairedImage]
    files: tuple[Path, ...]
    skipped: list[Skip] = field(default_factory=list)
    default_split: str | None = None
    given_split: str | None = None
    words: tuple[str, ...] | None = None
    features: FeatureStore | None = None
    entities: int = 0
