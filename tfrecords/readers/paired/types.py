"""Types that all readers of images with captions return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tfrecords.feature_stores import FeatureStore
from tfrecords.writing.shards import Skip


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption of an image.

    Attributes:
        text: as it was written.
        tokens: its words, where the source has split it already; None where it has not.
        caption_id: its number in the source; None where it has none.
    """

    text: str
    tokens: tuple[str, ...] | None = None
    caption_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedImage:
    """One image and its captions.

    Attributes:
        image_id: file name without folder (with it where names alone are not unique, as in `xray`);
            where there is no file name, the number in the source as text.
        place: where it was read, for messages: `path:line`.
        captions: [S]; may be empty.
        source_id: what the source calls it beside its file name (cocoid, imgid, id), as text.
        file: path relative to the folder of images; None where the source names no file.
        split: as the source calls it (`restval`, `dev`); None where it does not say.
        height: pixels, where the source says it.
        width: likewise.
        read: gives the encoded picture (JPEG, PNG), where the source itself holds it; picklable.
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
        images: in the order of the source.
        files: what was read, to be named in the manifest.
        skipped: captions that could not be read.
        default_split: the split of images that say none, told by the name of the file.
        words: the source's own vocabulary without markers, where captions were stored as word ids;
            then every caption has `tokens`, and `<unk>` stands for words out of the vocabulary.
        features: features of the images that come with the source.
        entities: captions with HTML entities, which were decoded.
    """

    images: list[PairedImage]
    files: tuple[Path, ...]
    skipped: list[Skip] = field(default_factory=list)
    default_split: str | None = None
    words: tuple[str, ...] | None = None
    features: FeatureStore | None = None
    entities: int = 0
