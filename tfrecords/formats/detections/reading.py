"""Readers of the detections of a data set, in all supported file formats.

| kind | recognized by | content |
|---|---|---|
| `records` | a folder | `detections` records of `r2m-detect-objects` |
| `coco` | `.json` | COCO results or annotations; a plain list with the JSON of its `images` |
| `open_images` | `.csv` | boxes of Open Images, with the class descriptions or a label map |
| `labels` | `.csv`, `.tsv` without boxes | a table of labels of whole images, see `labels_table` |
| `hdf5` | `.h5`, `.hdf5` | output of the R2M authors' detector script, with its label map |

Each format has its own module. All readers yield `ImageBoxes`, and raise an error at the end of a
file if its boxes or scores are in another format than its kind or the options require.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.core.missing_paths import describe_missing
from tfrecords.core.records import MANIFEST
from tfrecords.core.text_files import normalize_name
from tfrecords.formats.detections.box_formats import AS_EXPECTED, BoxOptions, split_box_options
from tfrecords.formats.detections.labels_table import has_labels, read_labels
from tfrecords.language.label_maps import read_label_map
from tfrecords.pictures.boxes import Detections, ImageBoxes
from tfrecords.pictures.name_index import NameIndex

_KIND_OF_SUFFIX = {
    ".json": "coco",
    ".csv": "open_images",
    ".tsv": "labels",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
}
_NEEDS_LABELS = ("open_images", "hdf5")

# Published boxes are rounded: a box with a smaller margin than this is the whole image.
_WHOLE_IMAGE_MARGIN = 0.01


@dataclass(frozen=True, kw_only=True)
class DetectionSource:
    """One file of detections.

    Attributes:
        path: the file, or a folder of `detections` records; see the table above.
        min_score: minimum score of a detection. For tags see `image_concepts`.
        weight: factor on the scores, to make the scores of several sources comparable.
        companion: information missing from the file: the JSON with `images` and `categories` of a
            plain COCO list, or the label map for other formats.
        box_options: formats of its boxes and scores, if they differ from its kind.
    """

    path: Path
    min_score: float = 0.3
    weight: float = 1.0
    companion: Path | None = None
    box_options: BoxOptions = AS_EXPECTED

    @classmethod
    def parse(
        cls,
        text: str,
        defaults: tuple[float, float] = (0.3, 1.0),
        box_defaults: BoxOptions = AS_EXPECTED,
    ) -> DetectionSource:
        """Parses `FILE[+COMPANION][,MIN_SCORE[,WEIGHT]][,boxes=FORMAT][,scores=percent]`.

        Args:
            text: text of a command line; `,sizes=FILE` may follow too, see `BoxOptions`.
            defaults: MIN_SCORE and WEIGHT if the text has none.
            box_defaults: the other options if the text has none of them.

        Raises:
            InputError: a number is invalid, there are too many numbers, or an option is unknown.
        """
        (name, *numbers), box_options = split_box_options(text)
        try:
            min_score, weight = [*map(float, numbers), *defaults[len(numbers) :]]
        except ValueError:
            name = ""
        if not name or not np.isfinite([min_score, weight]).all():
            raise InputError(
                "expected FILE[+FILE][,MIN_SCORE[,WEIGHT]][,boxes=FORMAT][,scores=percent], found "
                f"{text!r}"
            )
        path, companion = parse_files(name)
        return cls(
            path=path,
            companion=companion,
            min_score=min_score,
            weight=weight,
            box_options=BoxOptions(
                boxes=box_options.boxes or box_defaults.boxes,
                scores=box_options.scores or box_defaults.scores,
                sizes=box_options.sizes or box_defaults.sizes,
            ),
        )

    @property
    def recorded(self) -> dict[str, Any]:
        """The file and how it is read, for the options in a manifest."""
        return {
            "file": self.path.name,
            "min_score": self.min_score,
            "weight": self.weight,
            **self.box_options.recorded,
        }

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that determine the detections, for detecting changes."""
        # The manifest of records contains the checksums of all shards.
        path = self.path / MANIFEST if self.path.is_dir() else self.path
        return tuple(filter(None, (path, self.companion, self.box_options.sizes)))


@dataclass(frozen=True, kw_only=True)
class ImageDetections:
    """All N detections of one image, in the order of the sources.

    Attributes:
        sizes: number of a source -> height and width of the image according to its detector, in
            pixels; zeros if missing.
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax in 0..1.
        class_names: [N] names of the source's categories.
        class_ids: int64 [N], the source's category ids.
        scores: float32 [N] original scores (without the source's weight).
        source_index: int64 [N], index of the source of each detection.
        is_tag: bool [N], whether it is a label of the whole image instead of an object.
    """

    sizes: Mapping[int, tuple[int, int]]
    boxes: np.ndarray
    class_names: tuple[str, ...]
    class_ids: np.ndarray
    scores: np.ndarray
    source_index: np.ndarray
    is_tag: np.ndarray


def parse_files(text: str) -> tuple[Path, Path | None]:
    """Splits `FILE+COMPANION` into its paths; an existing file with a + in its name is kept."""
    path, plus, companion = text.rpartition("+")
    if not plus or Path(text).exists() or not (path and companion):
        return Path(text), None
    return Path(path), Path(companion)


def kind_of(path: Path) -> str:
    """Returns the kind of a file of detections, by its name and, for `.csv`, its first row.

    Raises:
        InputError: the name fits no kind.
        OSError: a `.csv` cannot be read.
    """
    kind = "records" if path.is_dir() else _KIND_OF_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{path} is not a known file of detections: expected {', '.join(_KIND_OF_SUFFIX)} "
            "or a folder of detections records"
        )
    if kind == "open_images" and has_labels(path):
        return "labels"
    return kind


def read_boxes(
    path: Path,
    companion: Path | None,
    kind: str = "",
    options: BoxOptions = AS_EXPECTED,
    converted: Counter[str] | None = None,
) -> Iterator[ImageBoxes]:
    """Yields the images of one file of detections with their objects.

    Args:
        path: the file or folder.
        companion: see `DetectionSource`.
        kind: a kind of the table above; inferred from the path by default.
        options: formats of boxes and scores.
        converted: updated with the numbers of converted boxes and scores, by format.

    Raises:
        InputError: a file is missing or of another kind, or its content is invalid; or, at the end
            of the file, its boxes or scores are in another format than expected.
    """
    for file in filter(None, (path, companion, options.sizes)):
        if not file.exists():
            raise InputError(f"there is no file of detections {file}{describe_missing(file)}")
    try:
        kind = kind or kind_of(path)
        if kind in _NEEDS_LABELS and companion is None:
            raise InputError(f"{path} has no class names: give the label map too (FILE+LABELS)")
        if kind == "records":
            from tfrecords.formats.detections.detection_records import read_detection_records

            if options != AS_EXPECTED:
                raise InputError(
                    f"{path} contains detections records, whose boxes have a fixed format: leave "
                    f"{', '.join(f'{k}={v}' for k, v in options.recorded.items())} out, or pass "
                    "them to r2m-detect-objects, which builds the records"
                )
            yield from read_detection_records(path)
        elif kind == "coco":
            from tfrecords.formats.detections.coco_boxes import read_coco

            yield from read_coco(path, companion, options, converted)
        elif kind == "labels":
            if companion is not None:
                raise InputError(f"{path} contains names of classes: leave +{companion} out")
            yield from read_labels(path, options, converted)
        elif kind == "open_images" and companion:
            from tfrecords.formats.detections.open_images import read_open_images

            yield from read_open_images(path, read_label_map(companion), options, converted)
        elif kind == "hdf5" and companion:
            from tfrecords.formats.detections.detections_hdf5 import read_hdf5

            yield from read_hdf5(path, read_label_map(companion), options, converted)
    except OSError as error:
        raise InputError(f"cannot read the detections {path}: {error}") from error


def read_detections(
    sources: Sequence[DetectionSource],
    *,
    names: Collection[str] | None = None,
    dropped: Counter[str] | None = None,
    converted: Counter[str] | None = None,
) -> dict[str, ImageDetections]:
    """Reads and merges detections.

    A source whose boxes are all whole images is a classifier: its labels are tags. All tags are
    kept, because `image_concepts` compares their sums with `min_score`.

    Args:
        sources: the files; at least one.
        names: the requested images; other detections are omitted. A name without suffix in a source
            matches the image whose name begins with it. None keeps all images under their names in
            the sources.
        dropped: updated with the numbers of invalid objects, by reason (see
            `tfrecords.pictures.boxes`).
        converted: updated with the numbers of converted boxes and scores, by format.

    Returns:
        Mapping from image name to detections, for every image of any source, including images
        without detections.

    Raises:
        InputError: a file is missing, unknown or malformed, or has no detection or none of the
            images.
    """
    if not sources:
        raise InputError("no file of detections was given")
    match = (
        normalize_name if names is None else NameIndex(names, "the images in the detections").find
    )
    sizes: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    found: dict[str, list[tuple[int, bool, Detections]]] = defaultdict(list)
    unmatched: list[str] = []
    for index, source in enumerate(sources):
        own: dict[str, Detections] = {}
        faults: Counter[str] = Counter()
        are_tags, count = True, 0
        for image in read_boxes(
            source.path, source.companion, options=source.box_options, converted=converted
        ):
            count += len(image.found.scores)
            are_tags = are_tags and _are_whole_images(image.found.boxes)
            faults.update(image.found.dropped)
            name = match(image.name)
            if name is None:
                unmatched = [*unmatched[:2], image.name]
                continue
            if name in own:
                raise InputError(f"{source.path} contains image {name!r} twice")
            own[name] = image.found
            sizes[name][index] = (image.height, image.width)
        _report(source.path, count, faults)
        if dropped is not None:
            dropped.update(faults)
        for name, objects in own.items():
            kept = objects if are_tags else objects.select(objects.scores >= source.min_score)
            found[name].append((index, are_tags, kept))
    if names is not None and not found:
        raise InputError(
            f"the detections contain none of the {len(names)} images: they are of "
            f"{sorted(unmatched)}, but the images are named {sorted(names)[:3]}"
        )
    return {name: _merge(sizes[name], parts) for name, parts in found.items()}


def _report(path: Path, count: int, faults: Counter[str]) -> None:
    """Logs the objects omitted from a file; raises an error if none is left."""
    listed = ", ".join(f"{number} {reason}" for reason, number in faults.most_common())
    if not count:
        raise InputError(
            f"{path} contains no {'valid ' * bool(listed)}detections{listed and ': '}{listed}"
        )
    if listed:
        logging.warning("%s: left out %s of %d", path, listed, count + faults.total())


def _are_whole_images(boxes: np.ndarray) -> bool:
    low, high = _WHOLE_IMAGE_MARGIN, 1 - _WHOLE_IMAGE_MARGIN
    return bool((boxes[:, :2] <= low).all() and (boxes[:, 2:] >= high).all())


def _merge(
    sizes: Mapping[int, tuple[int, int]], parts: Sequence[tuple[int, bool, Detections]]
) -> ImageDetections:
    counts = [len(part.scores) for _, _, part in parts]
    return ImageDetections(
        sizes=sizes,
        boxes=np.concatenate([part.boxes for _, _, part in parts]),
        class_names=tuple(name for _, _, part in parts for name in part.class_names),
        class_ids=np.concatenate([part.class_ids for _, _, part in parts]),
        scores=np.concatenate([part.scores for _, _, part in parts]),
        source_index=np.repeat(np.array([index for index, _, _ in parts], np.int64), counts),
        is_tag=np.repeat(np.array([is_tag for _, is_tag, _ in parts], bool), counts),
    )
