"""Predictions and references written by other tools, with the names of their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import logging

from r2m.evaluation.matching import ImageLabel
from r2m.evaluation.output_files import name_some
from r2m.evaluation.predictions import (
    caption_texts,
    check_rows,
    found_kind,
    read_json,
    reference_table,
)
from tfrecords.core.errors import InputError
from tfrecords.formats.paired.reading import SPLITS, PairedSource, read_paired
from tfrecords.formats.paired.types import PairedDataset, PairedImage

PREDICTIONS = (
    'COCO results `[{"image_id", "caption"}]`, `{id: caption}`, or a table (CSV, TSV) with the '
    "columns `image` and `caption`"
)
_DEFAULT_SPLIT, ALL_SPLITS = "test", "all"


@dataclass(frozen=True)
class LabeledCaptions:
    """Captions of one image.

    Attributes:
        label: name of the image in the file.
        captions: its captions; one for a prediction.
        split: name of the split in the source; None if the source names none.
        confidence: confidence of the caption of a prediction, in 0..1; None if the file has none.
    """

    label: ImageLabel
    captions: tuple[str, ...]
    split: str | None = None
    confidence: float | None = None


def read_any_predictions(source: str) -> list[LabeledCaptions]:
    """Reads one caption per image.

    Args:
        source: path of COCO results (`[{"image_id", "caption"}, ...]`, optionally with `file_name`;
            also as the `annotations` of a COCO file) or of `{id: caption}` JSON; or `[FORMAT:]PATH`
            of a table or list in a format of `r2m-build-captions`.

    Raises:
        InputError: the file does not exist or has another form, has no predictions, or has two for
            an image.
    """
    content = _json_content(source)
    rows = content.get("annotations") if isinstance(content, dict) else content
    if isinstance(rows, list) and _is_coco(rows):
        check_rows(rows, source)
        names = _file_names(content)
        found = [_of_row(row, names) for row in rows]
    elif isinstance(content, dict):
        found = [_of_key(key, value, source) for key, value in content.items()]
    else:
        found = [_labeled(image) for image in _read(source).images]
    if not found:
        raise InputError(f"{source}: no predictions: expected {PREDICTIONS}")
    several = [str(image.label) for image in found if len(image.captions) > 1]
    counts = Counter((image.label.id, image.label.name) for image in found)
    several += [name for (_, name), count in counts.items() if count > 1]
    if several:
        raise InputError(
            f"{source}: more than one prediction for {name_some(several)}: expected one caption "
            "per image"
        )
    return found


def read_any_references(source: str, split: str | None = None) -> list[LabeledCaptions]:
    """Reads the reference captions of images.

    Args:
        source: `[FORMAT:]PATH` of a format of `r2m-build-captions`, or the path of a JSON file
            `{id: [captions]}`.
        split: name of the split in the source or the records; `all` takes every image, None
            takes `test` of a source with several splits and else every image.

    Raises:
        InputError: the file does not exist or has another form, has no references, or lacks the
            split.
    """
    content = _json_content(source)
    if isinstance(content, dict) and _is_table(content):
        table = reference_table(content, source)
        images = [LabeledCaptions(ImageLabel.of(i), tuple(texts)) for i, texts in table.items()]
    else:
        images = [_labeled(image) for image in _read(source).images]
    if not any(image.captions for image in images):
        raise InputError(f"{source}: no reference captions")
    return _of_split(images, split, source)


def training_captions(source: str, scored: Sequence[LabeledCaptions]) -> list[str]:
    """Returns the captions of the split `train` of a source of references.

    Args:
        source: see `read_any_references`.
        scored: images that are scored. If one of them is in `train`, or has an unknown split, no
            captions are returned.
    """
    if any(image.split is None or _is_training(image) for image in scored):
        return []
    images = read_any_references(source, ALL_SPLITS)
    return [text for image in images if _is_training(image) for text in image.captions]


def _is_training(image: LabeledCaptions) -> bool:
    return SPLITS.get(image.split or "") == "train"


def _json_content(source: str) -> Any:
    """Returns the content of a JSON file; None for other files, including JSON Lines."""
    is_json = source.lower().endswith(".json") and Path(source).is_file()
    return read_json(source) if is_json else None


def _is_coco(rows: list[Any]) -> bool:
    """Returns whether rows are COCO results, possibly with mistakes."""
    return not rows or not isinstance(rows[0], Mapping) or "image_id" in rows[0]


def _file_names(content: Any) -> dict[int | str, str]:
    images = content.get("images") if isinstance(content, dict) else ()
    return {
        row["id"]: row["file_name"]
        for row in (images if isinstance(images, list) else ())
        if isinstance(row, Mapping)
        and isinstance(row.get("file_name"), str)
        and isinstance(row.get("id"), int | str)
    }


def _of_row(row: Mapping[str, Any], names: Mapping[int | str, str]) -> LabeledCaptions:
    image_id, name = row["image_id"], row.get("file_name")
    name = name if isinstance(name, str) and name else names.get(image_id)
    return LabeledCaptions(
        ImageLabel.of(image_id, name), (row["caption"],), confidence=_confidence(row)
    )


def _confidence(row: Mapping[str, Any]) -> float | None:
    value = row.get("confidence")
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    return None


def _of_key(key: str, value: Any, source: str) -> LabeledCaptions:
    # pycocoevalcap stores its results as lists of one caption.
    captions = [value] if isinstance(value, str) else caption_texts(value)
    if not _are_texts(captions):
        raise InputError(
            f"{source}: expected {PREDICTIONS}; found the key {key!r} with {found_kind(value)}"
        )
    return LabeledCaptions(ImageLabel.of(key), tuple(captions))


def _is_table(content: Mapping[str, Any]) -> bool:
    """Returns whether content is `{id: [captions]}`, or COCO annotations without images."""
    if "annotations" in content:
        return "images" not in content
    return all(_are_texts(caption_texts(captions)) for captions in content.values())


def _are_texts(captions: Any) -> bool:
    return isinstance(captions, list) and all(isinstance(text, str) for text in captions)


def _read(source: str) -> PairedDataset:
    dataset = read_paired(PairedSource.parse(source))
    faults = [skip for skip in dataset.skipped if skip.reason != "empty"]
    if faults:
        logging.warning(
            "%s: %d captions were left out; %s: %s",
            source,
            len(faults),
            faults[0].source,
            faults[0].detail,
        )
    return dataset


def _labeled(image: PairedImage) -> LabeledCaptions:
    texts = tuple(caption.text for caption in image.captions)
    label = ImageLabel.of(image.source_id or image.image_id, image.file or image.image_id)
    return LabeledCaptions(label, texts, image.split)


def _of_split(
    images: list[LabeledCaptions], split: str | None, source: str
) -> list[LabeledCaptions]:
    counts = Counter(image.split for image in images if image.split is not None)
    if split == ALL_SPLITS or (split is None and len(counts) < 2):
        return images
    wanted = split or _DEFAULT_SPLIT
    chosen = [i for i in images if i.split and wanted in (i.split, SPLITS.get(i.split))]
    if not chosen:
        known = ", ".join(f"{name} ({count} images)" for name, count in counts.items())
        raise InputError(
            f"{source}: no image of split {wanted!r}; it has {known or 'no splits'}. Choose one "
            f"with --split, or all images with --split={ALL_SPLITS}"
        )
    return chosen
