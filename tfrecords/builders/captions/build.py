"""Builder of `captions` records: images with their human-written captions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from absl import logging

from tfrecords.builders.base import check_at_least_one, spread, write_records
from tfrecords.builders.captions.image_sizes import images_without_size
from tfrecords.builders.captions.shard_jobs import (
    CaptionEntry,
    CaptionShardJob,
    caption_values,
    record_features,
)
from tfrecords.builders.captions.splits import Choice, ChosenImage, choose_images
from tfrecords.builders.captions.stored_features import caption_features, feature_shapes
from tfrecords.builders.captions.words import count_words, log_splits, split_captions
from tfrecords.builders.features.stored_values import recorded_shapes, stores_boxes
from tfrecords.builders.image_builds import (
    FeatureBuildOptions,
    backbone_sources,
    check_backbone,
    extraction_of,
    open_images,
    recorded_pictures,
)
from tfrecords.core.errors import InputError
from tfrecords.core.missing_paths import check_image_folder
from tfrecords.core.name_examples import describe_available
from tfrecords.core.records import VOCABULARY, Records, open_records
from tfrecords.core.segmentation import check_segmenter
from tfrecords.core.text_files import to_nfc
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.formats.detections.regions import (
    RegionOptions,
    boxes_of_names,
    check_regions,
    read_detected_boxes,
    recorded_regions,
    region_sources,
)
from tfrecords.formats.features.types import FeatureStore
from tfrecords.formats.paired.reading import SPLITS, PairedSource, read_paired
from tfrecords.formats.paired.types import PairedDataset
from tfrecords.formats.paired.word_rules import RULES
from tfrecords.pictures.feature_options import (
    TRAIN_SPLIT,
    check_views,
    recorded_backbone,
    recorded_views,
)
from tfrecords.pictures.image_names import read_split_lists

KIND = "captions"


@dataclass(frozen=True, kw_only=True)
class CaptionsOptions(FeatureBuildOptions):
    """Options of `build_captions`.

    Without `splits`, the sources define the splits. Images in no list are omitted.

    Attributes:
        captions: the sources of images and captions.
        data_dir: data folder of TensorFlow Datasets; None for its default.
        train_only: omits Karpathy's `restval`, which is training data by default.
        vocabulary_rule: how captions are split into words and which words get an id: `neuraltalk`,
            `vsepp` or `kiros`, see `tfrecords.formats.paired.word_rules`. Sources with word ids
            keep their words.
        segmenter: how captions are split into words, see `tfrecords.core.segmentation`; None uses
            the segmenter of `vocabulary`, or splits at spaces and rejects text written without
            spaces.
        min_count: minimum count of a word in the vocabulary; None uses the number of the rule, or
            all words of a source with word ids.
        vocabulary_splits: the splits whose captions are counted.
        vocabulary: a vocabulary file or a folder of records whose vocabulary is used; None builds a
            new vocabulary.
        max_length: sentences are truncated to this number of words; None disables truncation.
        images: folders with the image files, searched in this order; if empty, the pictures in the
            sources are used.
        store: precomputed features; None uses the features that come with the source.
        regions: boxes over which the feature map is averaged; None stores no regions.
        store_pixels: stores the pictures, if available.
        seed: seed of the order of the training images.
    """

    captions: tuple[PairedSource, ...]
    name: str = KIND
    data_dir: Path | None = None
    train_only: bool = False
    vocabulary_rule: str = "neuraltalk"
    segmenter: str | None = None
    min_count: int | None = None
    vocabulary_splits: tuple[str, ...] = (TRAIN_SPLIT,)
    vocabulary: Path | None = None
    max_length: int | None = None
    images: tuple[Path, ...] = ()
    store: FeatureStore | None = None
    regions: RegionOptions | None = None
    store_pixels: bool = True
    seed: int = 0


def build_captions(options: CaptionsOptions, progress: bool = True) -> Records:
    """Writes records of images with captions; splits: `train`, `val`, `test`, if available.

    Every record has `image_id`, `source_id` (the image's number in the source, as text; empty if it
    has none), `split` (name of the split in the source), `caption_ids` int64 [S], `texts` string
    [S], `sentences` int64 [S, (T)] (ragged; word ids with start and end marker), `height` and
    `width` int64 (0 if unknown). `image` contains the encoded picture, if available.
    `global_feature` [D], `grid_feature` [gh, gw, D] and `region_feature` [N, D] (with `boxes`
    float32 [N, 4]) are one string of little-endian bytes each (`tf.io.decode_raw`). The options in
    the manifest contain `feature_dtype`, `feature_size`, `grid_shape` and `region_size`.

    Images without a caption are skipped and listed in the manifest. If pictures or features are
    requested, so are images without a readable picture or without features. Captions without a word
    are skipped and listed too.

    Args:
        options: what to build.
        progress: whether to log the progress.

    Returns:
        The finished records.

    Raises:
        InputError: options or sources are invalid, two images have the same name, or a split has no
            usable image.
    """
    _check(options)
    datasets = [read_paired(source, options.data_dir) for source in options.captions]
    choice = choose_images(
        datasets, read_split_lists(options.splits), train_only=options.train_only
    )
    check_views(options.features, options.backbone, choice.splits)
    given = _given_vocabulary(options)
    # `words` is the default of vocabularies: it must not disable the check for unspaced text.
    segmenter = given.segmenter if given and given.segmenter != "words" else options.segmenter
    words, wordless = split_captions(choice, options.vocabulary_rule, segmenter)
    vocabulary = given or count_words(
        words,
        options.vocabulary_splits,
        rule=options.vocabulary_rule,
        min_count=options.min_count,
        own_words=[word for dataset in datasets for word in dataset.words or ()],
        segmenter=segmenter or "words",
    )
    store = caption_features(options.store, datasets)
    shapes = feature_shapes(store, options, regions=options.regions is not None)
    pictures = _has_pictures(options, choice)
    entries = {
        split: [_entry(image, found, vocabulary, options.max_length) for image, found in rows]
        for split, rows in words.items()
    }
    random.Random(options.seed).shuffle(entries.get(TRAIN_SPLIT, []))
    unknown = [] if pictures else images_without_size(choice)
    boxes = store is not None and stores_boxes(store, unknown)
    cut = log_splits(words, vocabulary, options.max_length)
    if not pictures and store is None:
        logging.info("neither pictures nor features were given: the records contain text only")

    files = [entry.file for rows in entries.values() for entry in rows if entry.file]
    folders = tuple(open_images(options, path, files) for path in options.images)
    converted = Counter(html_entities=sum(dataset.entities for dataset in datasets))
    names = [entry.picture_name for rows in entries.values() for entry in rows]
    detected = read_detected_boxes(options.regions, names, converted)

    def jobs(split: str, rows: Sequence[CaptionEntry]) -> list[CaptionShardJob]:
        reading = extraction_of(options, views=split == TRAIN_SPLIT)
        return [
            CaptionShardJob(
                entries=part,
                pictures=pictures,
                folders=folders,
                extraction=reading,
                store_pixels=options.store_pixels,
                store=store,
                boxes=boxes,
                regions=boxes_of_names(detected, [entry.picture_name for entry in part]),
            )
            for part in spread(rows, options.shards)
        ]

    return write_records(
        options,
        kind=KIND,
        progress=progress,
        splits={split: jobs(split, rows) for split, rows in entries.items()},
        features=lambda: record_features(
            shapes,
            options.features,
            views_of=shapes.keys() - (store.shapes.keys() if store else ()),
            boxes=boxes or options.regions is not None,
            pixels=pictures and options.store_pixels,
        ),
        recorded={
            **_recorded_options(options),
            "vocabulary": vocabulary.sha256 if options.vocabulary else None,
            "segmenter": vocabulary.segmenter,
            "cut_sentences": cut,
            **recorded_shapes(shapes),
            "store_pixels": pictures and options.store_pixels,
            # Earlier versions built records of the same sources without boxes.
            **({"boxes_by_image_size": True} if boxes and store and store.needs_sizes else {}),
            **({"recursive": options.recursive, **recorded_pictures(files)} if pictures else {}),
        },
        sources=_source_files(options, datasets, store),
        extra_files={VOCABULARY: vocabulary.file_bytes},
        skipped=[*choice.skipped, *wordless, *(s for data in datasets for s in data.skipped)],
        dropped=choice.dropped + Counter(store.dropped if store else {}),
        if_empty=lambda: describe_available(
            options.images if pictures else (), store.keys() if store else None
        ),
        converted=+converted,
    )


def _check(options: CaptionsOptions) -> None:
    check_at_least_one(options, "shards", "min_count", "max_length", "max_pixels")
    if not options.captions:
        raise InputError("no source: give at least one file with captions")
    if options.vocabulary_rule not in RULES:
        raise InputError(f"vocabulary_rule={options.vocabulary_rule!r}; known: {', '.join(RULES)}")
    if options.segmenter is not None:
        check_segmenter(options.segmenter)
    known = dict.fromkeys(SPLITS.values())
    if unknown := [split for split in options.vocabulary_splits if split not in known]:
        raise InputError(f"vocabulary_splits has {unknown[0]!r}; known: {', '.join(known)}")
    if options.vocabulary and options.min_count is not None:
        raise InputError("min_count applies to a new vocabulary, but an existing one was given")
    check_backbone(options)
    check_regions(options.regions, options.backbone, options.features)
    if options.backbone:
        options.features.check_fits(options.backbone)
    for folder in options.images:
        check_image_folder(folder)


def _given_vocabulary(options: CaptionsOptions) -> Vocabulary | None:
    """Returns the vocabulary of another build; None if a new one is built."""
    if options.vocabulary is None:
        return None
    if not options.vocabulary.is_dir():
        found = Vocabulary.load(options.vocabulary, options.segmenter or "words")
        # Captions are normalized to NFC too.
        return replace(found, words=tuple(map(to_nfc, found.words)))
    vocabulary = open_records(options.vocabulary).vocabulary()
    if options.segmenter not in (None, vocabulary.segmenter):
        raise InputError(
            f"the words of {options.vocabulary} were split by the segmenter "
            f"{vocabulary.segmenter}, not by {options.segmenter}: leave the segmenter out"
        )
    return vocabulary


def _entry(
    chosen: ChosenImage,
    sentences: Sequence[Sequence[str]],
    vocabulary: Vocabulary,
    max_length: int | None,
) -> CaptionEntry:
    image = chosen.image
    # The file name with its folders, if known: `0.png` alone is ambiguous.
    names = [name for name in (image.source_id, image.file or image.image_id) if name]
    return CaptionEntry(
        image_id=image.image_id,
        values=caption_values(
            source_id=image.source_id,
            split=chosen.split,
            caption_ids=[caption.caption_id or 0 for caption in chosen.captions],
            texts=[caption.text for caption in chosen.captions],
            sentences=[vocabulary.encode_sentence(words[:max_length]) for words in sentences],
        ),
        size=(image.height or 0, image.width or 0),
        names=tuple(dict.fromkeys(names)),
        file=image.file,
        read=image.read,
    )


def _has_pictures(options: CaptionsOptions, choice: Choice) -> bool:
    """Returns whether pictures are read; if so, every image must have one."""
    if not (options.store_pixels or options.backbone):
        return False
    images = [chosen.image for rows in choice.splits.values() for chosen in rows]
    if not options.images:
        found = all(image.read is not None for image in images)
        if options.backbone and not found:
            raise InputError("the backbone needs pictures: give the folder of images")
        return found
    for image in images:
        if image.file is None and image.read is None:
            raise InputError(
                f"{image.place}: image {image.image_id!r} has no file name: its picture cannot be "
                "found; leave out the folder of images"
            )
    return True


def _source_files(
    options: CaptionsOptions, datasets: Sequence[PairedDataset], store: FeatureStore | None
) -> list[Path]:
    files = [file for dataset in datasets for file in dataset.files]
    files += [*options.splits.values(), *options.images, *(store.paths if store else ())]
    files += region_sources(options.regions)
    if options.vocabulary and options.vocabulary.is_file():
        files.append(options.vocabulary)
    files += backbone_sources(options.backbone)
    # Features that come with captions are listed twice as a source.
    return list(dict.fromkeys(files))


def _recorded_options(options: CaptionsOptions) -> dict[str, Any]:
    """Returns the options that determine the records, for the manifest."""
    backbone = recorded_backbone(options.backbone, options.features)
    return {
        "captions": [
            {"path": Path(s.path).name, "format": s.format, "split": s.split}
            for s in options.captions
        ],
        "splits": {split: path.name for split, path in options.splits.items()},
        "train_only": options.train_only,
        "vocabulary_rule": options.vocabulary_rule,
        "min_count": options.min_count,
        "vocabulary_splits": list(options.vocabulary_splits),
        "max_length": options.max_length,
        **backbone,
        **recorded_regions(options.regions, backbone),
        **recorded_views(options.features),
        "feature_dtype": options.features.dtype,
        "store_grid": options.store_grid,
        "max_pixels": options.max_pixels,
        "shards": options.shards,
        "seed": options.seed,
    }
