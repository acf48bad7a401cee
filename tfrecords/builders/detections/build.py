"""Builder of `detections` records: the objects detected in each image of a folder.

A detector runs on the images, or published results are imported:

| detector | description |
|---|---|
| `frozen_graph:FILE`, `saved_model:FOLDER`, `keras_hub:PRESET` | see `tfrecords.detectors` |
| `classifier:NAME` | labels of the whole image, see `tfrecords.detectors` |
| `colors:FILE[,MIN_SCORE]` | colors of the objects in a file of detections, grass and snow around them |
| `coco:FILE[+JSON]`, `open_images:FILE`, `hdf5:FILE`, `labels:FILE` | files of results, see `tfrecords.formats.detections.reading` |

A FILE may be followed by `,boxes=FORMAT`, `,scores=percent` and `,sizes=FILE`, see
`tfrecords.formats.detections.box_formats`.
"""  # noqa: E501 - a table row cannot be broken

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfrecords.builders.base import check_at_least_one, spread, write_records
from tfrecords.builders.detections.shard_jobs import (
    ColorsShardJob,
    DetectShardJob,
    EncodedShardJob,
    encode_detections,
    record_features,
)
from tfrecords.builders.image_builds import ImageBuildOptions, open_images, recorded_pictures
from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_available
from tfrecords.core.records import Records
from tfrecords.core.shards import ShardJob, Skip
from tfrecords.core.text_files import normalize_name
from tfrecords.core.writer import describe_counts
from tfrecords.detectors.options import CROPS, DETECTORS, LABELERS, NAMED, PROMPTS, DetectorOptions
from tfrecords.formats.detections.box_formats import split_box_options
from tfrecords.formats.detections.reading import (
    DetectionSource,
    parse_files,
    read_boxes,
    read_detections,
)
from tfrecords.language.label_maps import read_label_map
from tfrecords.pictures.image_folders import list_images
from tfrecords.pictures.image_names import ALL_IMAGES_SPLIT, read_split_lists
from tfrecords.pictures.name_index import NameIndex

IMPORTS = ("coco", "open_images", "hdf5", "labels")
# Kinds whose files contain the names of the classes.
_WITH_CLASSES = ("coco", "labels")
COLORS = "colors"


@dataclass(frozen=True, kw_only=True)
class DetectionsOptions(ImageBuildOptions):
    """Options of `build_detections`.

    Attributes:
        detector: `KIND:MODEL` of the table above.
        images: folder with the image files; None for imported results.
        label_map: names of the classes; None for `coco` and `labels`, whose files contain them, and
            for `colors`.
        min_score: minimum score of an object.
        max_detections: maximum number of objects per image; the highest scores are kept.
        batch_size: images per step, if the detector accepts batches.
        crops: see `DetectorOptions`.
        prompts: see `DetectorOptions`; empty for its default.
    """

    detector: str
    name: str = "detections"
    images: Path | None = None
    label_map: Path | None = None
    min_score: float = 0.0
    max_detections: int = 100
    batch_size: int = 8
    crops: int = 1
    prompts: tuple[str, ...] = ()
    shards: int = 64


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Records to write, from a file of detections or from a detector.

    Attributes:
        splits: split -> its shards.
        sources: the files that determine the records.
        model: name of the detector's model in the manifest.
        other_names: names of other images than the requested ones, for errors.
        skipped: images without a record.
        dropped: reason -> number of omitted objects.
        converted: format -> boxes and scores that were converted.
        recorded: options for the manifest: formats of the boxes, or how pictures are read.
    """

    splits: dict[str, list[ShardJob]]
    sources: list[Path]
    model: str
    other_names: str
    skipped: Sequence[Skip] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    converted: Mapping[str, int] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)


def build_detections(options: DetectionsOptions, progress: bool = True) -> Records:
    """Writes the records of the objects detected in a set of images.

    Every record has `image_id` (the path relative to `images`), `height` and `width` int64 (pixels;
    0 if imported results do not contain them), `boxes` float32 [N, 4] (ymin, xmin, ymax, xmax in
    0..1 of the upright image), `classes` int64 [N] (ids of the label map), `class_names` string [N]
    and `scores` float32 [N], in descending order of scores.

    Unreadable images are skipped and listed in the manifest; invalid objects are omitted and
    counted there (see `tfrecords.pictures.boxes.checked_detections`).

    Args:
        options: what to build.
        progress: whether to log the progress.

    Returns:
        The finished records.

    Raises:
        InputError: options or inputs are invalid, the detector cannot be opened, or a split has no
            usable image.
    """
    kind, model = _check(options)
    make = _import if kind in IMPORTS else _find_colors if kind == COLORS else _detect
    plan = make(options, kind, model)
    return write_records(
        options,
        kind="detections",
        progress=progress,
        splits=plan.splits,
        features=record_features,
        recorded={
            "detector": kind,
            "model": plan.model,
            "splits": {split: path.name for split, path in options.splits.items()},
            "min_score": options.min_score,
            "max_detections": options.max_detections,
            "max_pixels": options.max_pixels,
            "shards": options.shards,
            **plan.recorded,
        },
        sources=plan.sources,
        skipped=plan.skipped,
        dropped=plan.dropped,
        converted=plan.converted,
        if_empty=lambda: plan.other_names,
    )


def _check(options: DetectionsOptions) -> tuple[str, str]:
    """Checks the options; returns the kind of detector and its model."""
    kind, _, model = options.detector.partition(":")
    known = (*DETECTORS, COLORS, *IMPORTS)
    if kind not in known or not model:
        raise InputError(
            f"detector {options.detector!r} is not known; expected KIND:MODEL with one of the "
            f"kinds {', '.join(known)}"
        )
    check_at_least_one(options, "max_detections", "max_pixels", "batch_size", "shards")
    if not 0 <= options.min_score <= 1:
        raise InputError(f"min_score={options.min_score} must be in 0..1")
    if options.crops not in CROPS or (options.crops > 1 and kind not in LABELERS):
        raise InputError(
            f"crops={options.crops} must be one of {', '.join(map(str, CROPS))}, above 1 only for "
            f"{' and '.join(LABELERS)}"
        )
    if options.prompts and kind != "zero_shot":
        raise InputError(f"{kind} has no prompts: leave them out, or use a zero_shot detector")
    if wrong := [prompt for prompt in options.prompts if "{}" not in prompt]:
        raise InputError(f"prompt {wrong[0]!r} must contain {{}}, the place of a class name")
    if kind in IMPORTS and options.images is not None:
        raise InputError(f"{kind} imports results and reads no images: leave images out")
    if kind not in IMPORTS and options.images is None:
        raise InputError(f"detector {kind} needs the folder of images")
    if kind in _WITH_CLASSES and options.label_map is not None:
        raise InputError(f"{kind} files contain the class names: leave label_map out")
    if kind == COLORS and options.label_map is not None:
        raise InputError("colors have fixed names: leave label_map out")
    if kind not in (*_WITH_CLASSES, COLORS) and options.label_map is None:
        raise InputError(
            f"{kind} has only numbers or codes of classes: give the label_map of the detector, "
            "for example mscoco_label_map.pbtxt or an annotation file of COCO"
        )
    return kind, model


def _detect(options: DetectionsOptions, kind: str, model: str) -> _Plan:
    """Returns the plan for images on which the detector runs."""
    assert options.images is not None and options.label_map is not None  # see _check
    detector = DetectorOptions(
        kind=kind,
        model=model,
        label_map=options.label_map,
        min_score=options.min_score,
        max_detections=options.max_detections,
        batch_size=options.batch_size,
        crops=options.crops,
        prompts=options.prompts or PROMPTS,
    )
    # Report errors in these files before any worker starts.
    read_label_map(options.label_map)
    if kind not in NAMED and not Path(model).exists():
        raise InputError(f"the {kind} {model} does not exist")
    listed = list_images(options.images, options.splits, recursive=options.recursive)
    names = list(itertools.chain(*listed.splits.values()))
    images = open_images(options, options.images, names)
    return _Plan(
        splits={
            split: [
                DetectShardJob(images, part, detector) for part in spread(files, options.shards)
            ]
            for split, files in listed.splits.items()
        },
        sources=[options.images, *options.splits.values(), *detector.files],
        model=Path(model).name if Path(model).exists() else model,
        other_names=describe_available([options.images]),
        skipped=listed.skipped,
        dropped=listed.passed_over,
        recorded={
            "recursive": options.recursive,
            **({"crops": options.crops} if options.crops > 1 else {}),
            **({"prompts": list(detector.prompts)} if kind == "zero_shot" else {}),
            **recorded_pictures(names),
        },
    )


def _find_colors(options: DetectionsOptions, kind: str, model: str) -> _Plan:
    """Returns the plan for the colors of detected objects."""
    del kind
    assert options.images is not None  # see _check
    source = DetectionSource.parse(model)
    listed = list_images(options.images, options.splits, recursive=options.recursive)
    names = list(itertools.chain(*listed.splits.values()))
    images = open_images(options, options.images, names)
    dropped, converted = Counter(listed.passed_over), Counter[str]()
    detections = read_detections([source], names=names, dropped=dropped, converted=converted)
    boxes, class_names = {}, {}
    for name in names:
        found = detections.get(name)
        objects = np.flatnonzero(~found.is_tag) if found else np.zeros(0, int)
        boxes[name] = found.boxes[objects] if found else np.zeros((0, 4), np.float32)
        class_names[name] = tuple(found.class_names[i] for i in objects) if found else ()
    if not any(map(len, class_names.values())):
        raise InputError(
            f"{source.path} has only labels of whole images: colors require the boxes of objects"
        )
    return _Plan(
        splits={
            split: [
                ColorsShardJob(
                    images,
                    part,
                    tuple(boxes[name] for name in part),
                    tuple(class_names[name] for name in part),
                )
                for part in spread(files, options.shards)
            ]
            for split, files in listed.splits.items()
        },
        sources=[options.images, *options.splits.values(), *source.files],
        model=f"{source.path.name},{source.min_score:g}",
        other_names=describe_available([options.images]),
        skipped=listed.skipped,
        dropped=dropped,
        converted=converted,
        recorded={"recursive": options.recursive, **recorded_pictures(names)},
    )


def _import(options: DetectionsOptions, kind: str, model: str) -> _Plan:
    """Returns the plan for imported results; their records stay in memory until written."""
    (model, *unknown), box_options = split_box_options(model)
    if unknown:
        raise InputError(
            f"detector {options.detector!r}: expected {kind}:FILE[,boxes=FORMAT][,scores=percent]"
            f"[,sizes=FILE], found {', '.join(unknown)}"
        )
    path, companion = parse_files(model) if kind == "coco" else (Path(model), options.label_map)
    lists = read_split_lists(options.splits)
    owner = {name: split for split, names in lists.items() for name in names}
    match = NameIndex(owner, "the lists of images").find if owner else normalize_name
    records: dict[str, list[bytes]] = {split: [] for split in lists or (ALL_IMAGES_SPLIT,)}
    missing, taken, objects = dict(owner), set(), 0
    dropped: Counter[str] = Counter()
    unmatched: list[str] = []
    converted: Counter[str] = Counter()
    for image in read_boxes(path, companion, kind, box_options, converted):
        name = match(image.name)
        if name is None:
            unmatched = [*unmatched[:1], image.name]
            continue
        if name in taken:
            raise InputError(f"{path} contains image {name!r} twice")
        taken.add(name)
        missing.pop(name, None)
        dropped.update(image.found.dropped)
        found = image.found.best(min_score=options.min_score, most=options.max_detections)
        objects += len(found.scores)
        split = owner.get(name, ALL_IMAGES_SPLIT)
        records[split].append(encode_detections(name, image.height, image.width, found))
    if not objects:
        raise InputError(
            f"{path} contains no detection in {'the listed images' if owner else 'any image'}"
            f"{f'; left out: {describe_counts(dropped)}' if dropped else ''}"
            + (f": it has images {unmatched}, the lists have {list(owner)[:2]}" if owner else "")
        )
    logging.info("%s: %d detections in %d images", path.name, objects, len(taken))
    return _Plan(
        splits={
            split: [EncodedShardJob(part) for part in spread(rows, options.shards)]
            for split, rows in records.items()
        },
        sources=[
            path,
            *options.splits.values(),
            *filter(None, (companion, box_options.sizes)),
        ],
        model=path.name,
        other_names=f"{path} also contains {unmatched}" if unmatched else "",
        skipped=[
            Skip(name, "missing", f"{split}: {path.name} does not list it")
            for name, split in missing.items()
        ],
        dropped=dropped,
        converted=converted,
        recorded=box_options.recorded,
    )
