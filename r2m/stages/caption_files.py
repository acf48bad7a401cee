"""Captions of image files that are in no records, from what detectors saw in them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from pipelines.concepts import assemble
from r2m.evaluation.gallery import GalleryItem, write_gallery
from r2m.evaluation.predictions import write_predictions
from r2m.stages.captioning import open_captioning
from r2m.stages.data import concept_options
from r2m.stages.experiment import CONCEPTS_FILE, concept_rules
from tfrecords.concepts import ConceptDictionary
from tfrecords.errors import InputError
from tfrecords.features import decode_all
from tfrecords.images.concepts import ImageConcept, image_concepts
from tfrecords.images.names import IMAGE_SUFFIXES
from tfrecords.readers.detections import DetectionSource, read_detections

# Images captioned at once.
_BATCH = 256


def caption_files(
    run_folder: str | Path,
    source: Path,
    detections: Sequence[DetectionSource],
    output: str | Path,
    *,
    overrides: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Captions image files of which detections are at hand.

    Concepts are chosen by the rules of the image records the run was trained with. Writes
    `captions.json` (COCO results with the concepts), `index.html` and `gallery.png`.

    Args:
        run_folder: of a trained stage.
        source: a folder of images, or a text file that lists them.
        detections: what detectors saw in them, by file name.
        output: folder to write to.
        overrides: of the run's `decoding` settings.

    Returns:
        A row an image: `image_id`, `caption`, `concepts` (word, score, count; best first) and,
        where something is the matter with it, `note`. An unreadable image has an empty caption.

    Raises:
        InputError: no images, detections of none of them, or a run that cannot be opened.
    """
    files = _image_files(source)
    seen = read_detections(detections, names=[file.name for file in files])
    captioning, vocabulary, config = open_captioning(run_folder, overrides)
    options = concept_options(config)
    dictionary, allowed, order = _rules(Path(run_folder))
    rows: list[dict[str, Any]] = []
    for start in range(0, len(files), _BATCH):
        chunk = files[start : start + _BATCH]
        found = [
            image_concepts(
                seen[file.name],
                dictionary,
                sources=detections,
                max_concepts=options.max_concepts,
                order=order,
                allowed=allowed,
            )
            if file.name in seen
            else []
            for file in chunk
        ]
        inputs, lengths = assemble(
            tf.ragged.constant(
                [[vocabulary.id_of(c.word) for c in row] for row in found], tf.int64, ragged_rank=1
            ),
            tf.ragged.constant([[c.count for c in row] for row in found], tf.int64, ragged_rank=1),
            options,
            key=None,
            order="kept",
        )
        faults = [
            item if isinstance(item, str) else None
            for item in decode_all([file.read_bytes() for file in chunk], None)
        ]
        captions = captioning.captions({"concepts": inputs, "concept_lengths": lengths})
        rows += map(_row, chunk, captions, found, faults)
    for note, count in Counter(row["note"].split(":")[0] for row in rows if "note" in row).items():
        logging.warning("%d of %d images: %s", count, len(rows), note)
    write_predictions(Path(output, "captions.json"), rows)
    write_gallery(
        output,
        [_item(row, file) for row, file in zip(rows, files, strict=True)],
        title=f"{len(files)} images captioned",
        settings={"run": Path(run_folder).name, **config.decoding.to_dict()},
    )
    return rows


def sources_as_trained(run_folder: str | Path, texts: Sequence[str]) -> list[DetectionSource]:
    """Files of detections, with the thresholds and weights that the run was trained with.

    They are told apart by file name, else by their order where there are as many as in training.

    Args:
        run_folder: of a trained stage.
        texts: `FILE[+COMPANION][,MIN_SCORE[,WEIGHT]]` each; numbers that are given count.

    Raises:
        InputError: one is not of that form.
    """
    known = concept_rules(Path(run_folder)).get("detections", [])
    by_name = {rule["file"]: rule for rule in known}
    sources = []
    for number, text in enumerate(texts):
        name = DetectionSource.parse(text).path.name
        rule = by_name.get(name) or (known[number] if len(known) == len(texts) else None)
        if rule is None:
            logging.warning(
                "the run was trained with detections of %s, not of %s: scores count as they do by "
                "default",
                ", ".join(by_name) or "no images", name,
            )  # fmt: skip
            sources.append(DetectionSource.parse(text))
        else:
            sources.append(DetectionSource.parse(text, (rule["min_score"], rule["weight"])))
    return sources


def _rules(run_folder: Path) -> tuple[ConceptDictionary, frozenset[str], Any]:
    """The run's dictionary, the concepts its corpus speaks of often enough, and their order."""
    file = run_folder / CONCEPTS_FILE
    text = file.read_text(encoding="utf-8")
    rules = concept_rules(run_folder)
    counts = json.loads(text)["counts"]
    allowed = frozenset(word for word, n in counts.items() if n >= rules["min_concept_count"])
    return ConceptDictionary.from_json(text, str(file)), allowed, rules["concept_order"]


def _row(
    file: Path, caption: str, concepts: Sequence[ImageConcept], fault: str | None
) -> dict[str, Any]:
    best_first: list[dict[str, Any]] = [
        {"word": c.word, "score": round(c.score, 4), "count": c.count} for c in reversed(concepts)
    ]
    row: dict[str, Any] = {"image_id": file.name, "caption": caption, "concepts": best_first}
    if fault is not None:
        return {**row, "caption": "", "note": f"cannot be read: {fault[:200]}"}
    if not concepts:
        row["note"] = "no concept was detected, the caption speaks of nothing seen"
    return row


def _item(row: dict[str, Any], file: Path) -> GalleryItem:
    return GalleryItem(
        image_id=row["image_id"],
        image=file,
        caption=row["caption"],
        concepts=[(concept["word"], concept["score"]) for concept in row["concepts"]],
    )


def _image_files(source: Path) -> list[Path]:
    if source.is_dir():
        files = sorted(f for f in source.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise InputError(f"{source}: no image files ({', '.join(IMAGE_SUFFIXES)}) in there")
        return files
    if not source.is_file():
        raise InputError(f"{source}: no such folder of images or list of image files")
    try:
        lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source}: expected a folder of images or a text file that lists them: {error}"
        ) from error
    files = [source.parent / line for line in lines if line]
    if not files:
        raise InputError(f"{source}: the list names no image")
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{source}: {len(missing)} of the {len(files)} images listed do not exist, the first "
            f"is {missing[0]}; names are relative to the folder of the list"
        )
    twice = [name for name, count in Counter(file.name for file in files).items() if count > 1]
    if twice:
        raise InputError(f"{source}: detections go by file name, and {twice[0]} is listed twice")
    return files
