"""Builder of `images` records: pictures with their detected concepts, or the concepts alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import logging

from tfrecords.builders.base import check_at_least_one, spread, write_records
from tfrecords.builders.features.descriptions import extracted_shapes, grid_shape
from tfrecords.builders.image_builds import (
    FeatureBuildOptions,
    check_backbone,
    extraction_of,
    open_images,
    recorded_pictures,
)
from tfrecords.builders.images.image_references import (
    NO_REFERENCES,
    ImageReferences,
    read_image_references,
    with_caption,
)
from tfrecords.builders.images.shard_jobs import (
    ConceptShardJob,
    ImageEntry,
    ImageShardJob,
    record_features,
)
from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_available, describe_names
from tfrecords.core.records import CONCEPTS, VOCABULARY, Records, open_records
from tfrecords.core.shards import ShardJob, Skip, describe_skips
from tfrecords.formats.detections.image_concepts import (
    ConceptOrder,
    ImageConcept,
    image_concepts,
    read_concepts,
)
from tfrecords.formats.detections.reading import DetectionSource, ImageDetections, read_detections
from tfrecords.language.concepts import ConceptDictionary
from tfrecords.language.unlikely_pairs import (
    UnlikelyPairs,
    read_unlikely_pairs,
    recorded_pairs,
)
from tfrecords.pictures.feature_options import (
    TRAIN_SPLIT,
    check_views,
    recorded_backbone,
    recorded_views,
)
from tfrecords.pictures.image_files import ImageFolder
from tfrecords.pictures.image_folders import ListedImages, list_images
from tfrecords.pictures.image_names import ALL_IMAGES_SPLIT, read_split_lists

if TYPE_CHECKING:
    from tfrecords.core.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class ImagesOptions(FeatureBuildOptions):
    """Options of `build_images`.

    Attributes:
        images: folder with the image files. None reads no files: the images are those of the lists
            in `splits`, or else those of the detections, and records have neither pixels nor
            features.
        detections: results of a detector or classifier on the images, or tables of their labels.
        corpora: folder of `corpora` records with the vocabulary and the concepts.
        max_concepts: maximum number of concepts per image.
        concept_order: see `image_concepts`.
        min_concept_count: omits concepts in fewer sentences of the corpus: rare words cannot steer
            a sentence.
        min_pair_sentences: of two concepts of an image that are together in fewer sentences of the
            corpus, although this number or more would be expected by chance, leaves out the less
            certain one. 0 leaves out none.
        references: file with human-written captions; None without references.
        reference_splits: the splits whose records get references. By default training images get
            none: they must not be paired with text.
        keep_images_without_concepts: keeps them in all splits except `train`.
        store_pixels: stores the bytes of the image files, if there are any.
        seed: seed of the order of the training images.
    """

    images: Path | None = None
    detections: tuple[DetectionSource, ...]
    corpora: Path
    name: str = "images"
    max_concepts: int = 5
    concept_order: ConceptOrder = "score"
    min_concept_count: int = 1
    min_pair_sentences: int = 0
    references: Path | None = None
    reference_splits: tuple[str, ...] = ("val", "test")
    keep_images_without_concepts: bool = True
    store_pixels: bool = True
    seed: int = 0


def build_images(options: ImagesOptions, progress: bool = True) -> Records:
    """Writes the records of a set of images.

    Every record has `image_id` (the path relative to `images`; without this folder, the name in the
    lists or the detections), `source_id` (its number in the source of the references as text; empty
    if it has none), `concepts` int64 [K] (vocabulary ids, in ascending order of scores),
    `concept_scores` float32 [K], `concept_counts` int64 [K], `boxes` float32 [K, 4] (ymin, xmin,
    ymax, xmax in 0..1 of the upright image, the box with the highest score per concept) and `texts`
    string [S]. With `images` it also has `image` (the file's bytes; PNG if TensorFlow does not
    decode the file's format) unless omitted. With a backbone it has `global_feature` and optionally
    `grid_feature`, little-endian [D] and [gh, gw, D] in `options.feature_dtype` of the manifest
    (float16), as one byte string (`tf.io.decode_raw`).

    Unreadable images and training images without a concept are skipped and listed in the manifest.

    Args:
        options: what to build.
        progress: whether to log the progress.

    Returns:
        The finished records.

    Raises:
        InputError: options or inputs are invalid, the detections contain none of the images, or a
            split has no usable image.
    """
    _check(options)
    corpora = open_records(options.corpora, kind="corpora")
    vocabulary = corpora.vocabulary()
    concepts_file = options.corpora / CONCEPTS
    dictionary, counts = read_concepts(concepts_file, vocabulary)
    allowed = {w for w in dictionary.words if counts.get(w, 0) >= options.min_concept_count}
    if not allowed:
        raise InputError(
            f"no concept is mentioned by {options.min_concept_count} sentences of "
            f"{options.corpora}: lower min_concept_count"
        )
    unlikely = read_unlikely_pairs(corpora, dictionary, options.min_pair_sentences)
    listed = _listed_images(options)
    skipped, dropped = list(listed.skipped), Counter(listed.passed_over)
    wanted = _names(listed)
    converted: Counter[str] = Counter()
    detections = read_detections(
        options.detections, names=wanted or None, dropped=dropped, converted=converted
    )
    if not wanted:
        listed = ListedImages({ALL_IMAGES_SPLIT: sorted(detections)})
        wanted = _names(listed)
    images = open_images(options, options.images, wanted) if options.images else None
    concepts = _concepts_of_images(options, dictionary, allowed, unlikely, detections, dropped)
    references = _references(options, listed.splits, wanted)
    entries: dict[str, list[ImageEntry]] = {}
    for split, files in listed.splits.items():
        with_texts = split in options.reference_splits
        entries[split] = _entries(
            options, split, files, images, concepts, references, with_texts, vocabulary, skipped
        )
    _log_concepts(entries)

    sources = [
        *filter(None, [options.images]),
        *(file for source in options.detections for file in source.files),
        options.corpora / VOCABULARY,
        concepts_file,
        *options.splits.values(),
    ]
    if options.references:
        sources.append(options.references)
    if options.backbone and options.backbone.weights_file:
        sources.append(options.backbone.weights_file)
    return write_records(
        options,
        kind="images",
        progress=progress,
        splits={
            split: _jobs(options, images, rows, views=split == TRAIN_SPLIT)
            for split, rows in entries.items()
        },
        features=lambda: record_features(
            extracted_shapes(options), options.features, pixels=_stores_pixels(options)
        ),
        recorded={
            **_recorded_options(options, wanted),
            **recorded_pairs(unlikely, options.min_pair_sentences),
            "segmenter": vocabulary.segmenter,
        },
        sources=sources,
        extra_files={
            VOCABULARY: (options.corpora / VOCABULARY).read_bytes(),
            CONCEPTS: concepts_file.read_bytes(),
        },
        skipped=skipped,
        dropped=dropped,
        if_empty=lambda: describe_available([*filter(None, [options.images])]),
        converted=converted,
    )


def _check(options: ImagesOptions) -> None:
    check_at_least_one(options, "max_concepts", "max_pixels", "shards")
    if options.min_pair_sentences < 0:
        raise InputError(
            f"min_pair_sentences must be at least 0, found {options.min_pair_sentences}"
        )
    if options.concept_order not in ("score", "class_id"):
        raise InputError(f"concept_order={options.concept_order!r}; known: score, class_id")
    if options.images is None and (options.backbone or options.store_grid):
        raise InputError("a backbone and store_grid require image files: give images, their folder")
    check_backbone(options)
    check_views(options.features, options.backbone, options.splits)
    if options.images and not options.store_pixels and options.backbone is None:
        raise InputError(
            "records need pixels or features: store at least one of them, or leave images out to "
            "store concepts only"
        )


def _stores_pixels(options: ImagesOptions) -> bool:
    return options.store_pixels and options.images is not None


def _listed_images(options: ImagesOptions) -> ListedImages:
    """Returns the images of each split; without a folder and lists, none."""
    if options.images:
        return list_images(options.images, options.splits, recursive=options.recursive)
    return ListedImages(read_split_lists(options.splits))


def _names(listed: ListedImages) -> set[str]:
    return {name for files in listed.splits.values() for name in files}


def _concepts_of_images(
    options: ImagesOptions,
    dictionary: ConceptDictionary,
    allowed: set[str],
    unlikely: UnlikelyPairs,
    detections: Mapping[str, ImageDetections],
    dropped: Counter[str],
) -> dict[str, list[ImageConcept]]:
    """Returns the concepts of every requested image in the detections; counts dropped ones."""
    classes = {name for found in detections.values() for name in found.class_names}
    known = {name for name in classes if set(dictionary.concepts_of_class(name)) & allowed}
    if not known:
        raise InputError(
            f"none of the {len(classes)} detected classes maps to a concept of the corpus (first: "
            f"{sorted(classes)[:5]}): build the corpus with the label map of this detector"
        )
    logging.info("%d of %d detected classes map to a concept", len(known), len(classes))
    return {
        name: image_concepts(
            found,
            dictionary,
            sources=options.detections,
            max_concepts=options.max_concepts,
            order=options.concept_order,
            allowed=allowed,
            unlikely=unlikely,
            dropped=dropped,
        )
        for name, found in sorted(detections.items())
    }


def _references(
    options: ImagesOptions, splits: Collection[str], names: Collection[str]
) -> dict[str, ImageReferences]:
    """Reads the references of the named images; empty without a file of references."""
    if options.references is None:
        return {}
    if not set(options.reference_splits) & set(splits):
        raise InputError(
            f"--reference_splits={','.join(options.reference_splits)} are not among the splits of "
            f"these records ({', '.join(splits)}): no image would get references of "
            f"{options.references}. Give --reference_splits={','.join(splits)}, or --split"
        )
    return read_image_references(options.references, names)


def _entries(
    options: ImagesOptions,
    split: str,
    files: Sequence[str],
    images: ImageFolder | None,
    found: Mapping[str, Sequence[ImageConcept]],
    references: Mapping[str, ImageReferences],
    with_texts: bool,
    vocabulary: Vocabulary,
    skipped: list[Skip],
) -> list[ImageEntry]:
    """Returns the entries of a split; appends omitted images to `skipped`."""
    keep = options.keep_images_without_concepts and split != TRAIN_SPLIT
    entries = []
    for name in files:
        concepts = found.get(name, ())
        if not concepts and not keep:
            # An unreadable picture has no detection for that reason.
            why = (
                "no detection maps to a concept"
                if name in found
                else "the detections do not contain it"
            )
            data = images.read(name) if images else None
            none = Skip(name, "no_concept", f"{split}: {why}")
            skipped.append(data if isinstance(data, Skip) else none)
            continue
        ids = tuple(vocabulary.id_of(concept.word) for concept in concepts)
        texts, source_id = references.get(name, NO_REFERENCES)
        texts = texts if with_texts else ()
        entries.append(ImageEntry(name, tuple(concepts), ids, texts, source_id))
    if not entries:
        raise InputError(
            f"split {split!r}: none of its {len(files)} images has a concept: "
            f"{describe_skips(skipped[-len(files) :], 2)}. The detections contain "
            f"{describe_names(sorted(found))} of the requested ones"
        )
    if references and with_texts and not any(entry.texts for entry in entries):
        raise InputError(
            f"{options.references} has no caption for any image of split {split!r}, only for "
            f"those of other splits, such as {with_caption(references)[:3]}"
        )
    if split == TRAIN_SPLIT:
        random.Random(options.seed).shuffle(entries)
    return entries


def _log_concepts(entries: Mapping[str, Sequence[ImageEntry]]) -> None:
    for split, rows in entries.items():
        total = Counter(concept.word for row in rows for concept in row.concepts)
        logging.info(
            "%s: %d images, %.1f concepts per image, %d without; most frequent: %s",
            split,
            len(rows),
            sum(total.values()) / len(rows),
            sum(not row.concepts for row in rows),
            ", ".join(f"{word} {count}" for word, count in total.most_common(12)),
        )


def _jobs(
    options: ImagesOptions,
    images: ImageFolder | None,
    entries: Sequence[ImageEntry],
    *,
    views: bool,
) -> list[ShardJob]:
    parts = spread(entries, options.shards)
    if images is None:
        return [ConceptShardJob(part) for part in parts]
    reading = extraction_of(options, views=views)
    return [ImageShardJob(images, part, reading, options.store_pixels) for part in parts]


def _recorded_options(options: ImagesOptions, names: Collection[str]) -> dict[str, Any]:
    """Returns the options that determine the records, for the manifest."""
    return {
        "max_concepts": options.max_concepts,
        "concept_order": options.concept_order,
        "min_concept_count": options.min_concept_count,
        "detections": [source.recorded for source in options.detections],
        "splits": {split: path.name for split, path in options.splits.items()},
        "reference_splits": sorted(options.reference_splits) if options.references else [],
        "keep_images_without_concepts": options.keep_images_without_concepts,
        **recorded_backbone(options.backbone, options.features),
        **recorded_views(options.features),
        "grid_shape": (
            list(grid_shape(options.backbone, options.features)) if options.backbone else None
        ),
        "store_grid": options.store_grid,
        "store_pixels": _stores_pixels(options),
        "max_pixels": options.max_pixels,
        "shards": options.shards,
        "seed": options.seed,
        "recursive": options.recursive,
        **(recorded_pictures(names) if options.images else {}),
    }
