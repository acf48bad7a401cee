"""Captions of image files that are in no records."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from r2m.evaluation.caption_table import write_caption_table
from r2m.evaluation.gallery import SHEET, GalleryItem, write_gallery
from r2m.evaluation.output_files import prepare_output
from r2m.evaluation.predictions import write_predictions
from r2m.inference.captioning import Hypothesis
from r2m.inference.consensus import ConsensusOptions
from r2m.inference.run import CaptionedImage, Run, RunPath
from tfrecords.errors import InputError
from tfrecords.images.entries import ImageFile, ImageFiles, named_files
from tfrecords.writing.progress import CountProgress

_CAPTIONS = "captions.json"
_TABLE = "captions.csv"
_DIGITS = 4  # behind the point, of logarithms and scores


class CaptionedFiles(NamedTuple):
    """Captions of image files.

    Attributes:
        rows: one per entry: `image_id`, `caption`, `log_probability`, `score` and
            `length_normalization`, by consensus `consensus_score`, with several captions per image
            `captions` (each with these keys, best first), for R2M `concepts` (word, score, count;
            best first) and, where something is wrong with the entry, `note`. An entry that cannot
            be read has an empty caption and a `reason`, see WORKSPACE.md.
        passed_over: reason -> number of entries of the folder that are not meant to be pictures.
    """

    rows: list[dict[str, Any]]
    passed_over: Counter[str]


def caption_files(
    runs: RunPath | Sequence[RunPath],
    sources: Path | Sequence[Path],
    output: str | Path,
    *,
    recursive: bool = True,
    detections: Sequence[str] = (),
    weights: str | None = None,
    decoding: Mapping[str, Any] | None = None,
    consensus: ConsensusOptions | None = None,
    captions: int = 1,
) -> CaptionedFiles:
    """Captions image files.

    R2M needs detections of them, and its concepts are chosen by the rules of the image records it
    was trained with. A captioner needs the backbone that its records were built with, unless it
    looks at pixels itself. Writes `captions.json` (COCO results), `captions.csv`, `index.html` and
    `gallery.png`.

    Args:
        runs: folder of a trained stage; several captioners make an ensemble, see `Run.load`.
        sources: folders of images, text files that list them, and images; one or several.
        output: folder to write to.
        recursive: also the images in folders below the folder. Images are identified by their
            paths relative to it.
        detections: `FILE[+COMPANION][,MIN_SCORE[,WEIGHT]]` each: what detectors saw, by those
            names.
        weights: file of the backbone's weights.
        decoding: changes of the run's `decoding` settings, by name.
        consensus: how captions are chosen from the beams, see `Run.load`.
        captions: how many to find per image.

    Raises:
        InputError: no images, detections of none of them, an image that would be written over, a
            run that cannot be opened or needs what is not given, or more captions than the beam is
            wide.
    """
    listed = [sources] if isinstance(sources, Path) else sources
    files, passed_over = _without_output(named_files(listed, recursive=recursive), Path(output))
    run = Run.load(runs, decoding=decoding, consensus=consensus, weights=weights)
    reader = run.image_reader(files, detections)
    alpha = float(run.config.decoding.length_normalization)
    prepare_output(output)
    rows: list[dict[str, Any]] = []
    with CountProgress("captioning", len(files), "images") as progress:
        for batch in run.caption_images(files, reader, captions=captions):
            rows += [_row(image, alpha) for image in batch]
            progress.add(len(batch))
    for note, count in Counter(row["note"].split(":")[0] for row in rows if "note" in row).items():
        logging.warning("%d of %d images: %s", count, len(rows), note)
    write_predictions(Path(output, _CAPTIONS), rows)
    write_caption_table(Path(output, _TABLE), rows)
    write_gallery(
        output,
        [_item(row, file) for row, file in zip(rows, files, strict=True)],
        title=f"{len(files)} images captioned",
        settings={"run": run.name, **run.config.decoding.to_dict()},
    )
    return CaptionedFiles(rows, passed_over)


def _without_output(found: ImageFiles, output: Path) -> ImageFiles:
    """Passes over the contact sheet of an earlier call, where the output is below the images."""
    sheet = os.path.realpath(output / SHEET)
    files = [file for file in found.files if os.path.realpath(file.path) != sheet]
    if len(files) == len(found.files):
        return found
    if not (output / _CAPTIONS).exists():
        raise InputError(
            f"{output / SHEET} is one of the images, and the contact sheet would be written over "
            "it: give another --output"
        )
    if not files:
        raise InputError(f"{output / SHEET} is the only image: a contact sheet of earlier captions")
    return ImageFiles(files, found.passed_over + Counter(own_output=1))


def _scored(found: Hypothesis, alpha: float) -> dict[str, Any]:
    """Returns a caption with its scores as JSON and the table hold it."""
    scored = {
        "caption": found.caption,
        "log_probability": round(found.log_probability, _DIGITS),
        "score": round(found.score, _DIGITS),
        "length_normalization": alpha,
    }
    if found.reranked is not None:
        scored["consensus_score"] = round(found.reranked, _DIGITS)
    return scored


def _row(image: CaptionedImage, alpha: float) -> dict[str, Any]:
    """Returns an image with its captions as JSON and the table hold it."""
    row: dict[str, Any] = {"image_id": image.source.name, "caption": ""}
    found = [_scored(one, alpha) for one in image.hypotheses]
    row.update(found[0] if found else {})
    if len(found) > 1:
        row["captions"] = found
    if image.concepts is not None:
        row["concepts"] = [
            {"word": c.word, "score": round(c.score, 4), "count": c.count}
            for c in reversed(image.concepts)
        ]
    if image.fault is not None:
        row["reason"] = image.fault.reason
        row["note"] = f"cannot be read: {image.fault.detail[:200]}"
    elif image.concepts is not None and not image.concepts:
        row["note"] = "no concept was detected, the caption speaks of nothing seen"
    return row


def _item(row: dict[str, Any], file: ImageFile) -> GalleryItem:
    return GalleryItem(
        image_id=row["image_id"],
        image=file.path,
        caption=row["caption"],
        concepts=[(concept["word"], concept["score"]) for concept in row.get("concepts", ())],
    )
