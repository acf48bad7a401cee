"""Captions of image files that are in no records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from r2m.evaluation.gallery import GalleryItem, write_gallery
from r2m.evaluation.predictions import write_predictions
from r2m.stages.captioning import is_captioner, open_run
from r2m.stages.paired.consensus import ConsensusOptions
from r2m.stages.paired.image_files import captioner_look
from r2m.stages.run_folder import run_names
from r2m.stages.trained_run import Look, TrainedRun
from r2m.stages.unpaired.image_files import concept_look, sources_as_trained
from tfrecords.errors import InputError
from tfrecords.images.concepts import ImageConcept
from tfrecords.images.names import IMAGE_SUFFIXES

# Images captioned at once.
_BATCH = 256


def caption_files(
    run_folder: str | Path | Sequence[str | Path],
    source: Path,
    output: str | Path,
    *,
    detections: Sequence[str] = (),
    weights: str | None = None,
    overrides: dict[str, Any] | None = None,
    consensus: ConsensusOptions | None = None,
) -> list[dict[str, Any]]:
    """Captions image files.

    R2M needs detections of them, and its concepts are chosen by the rules of the image records it
    was trained with. A captioner needs the backbone that its records were built with, unless it
    looks at pixels itself. Writes `captions.json` (COCO results), `index.html` and `gallery.png`.

    Args:
        run_folder: of a trained stage; several captioners make an ensemble, see `open_run`.
        source: a folder of images, or a text file that lists them.
        output: folder to write to.
        detections: `FILE[+COMPANION][,MIN_SCORE[,WEIGHT]]` each: what detectors saw, by file name.
        weights: file of the backbone's weights.
        overrides: of the run's `decoding` settings.
        consensus: how captions are chosen from the beams, see `open_run`.

    Returns:
        A row an image: `image_id`, `caption`, of R2M `concepts` (word, score, count; best first)
        and, where something is the matter with it, `note`. An unreadable image has an empty
        caption.

    Raises:
        InputError: no images, detections of none of them, or a run that cannot be opened or needs
            what is not given.
    """
    files = image_files(source)
    run = open_run(run_folder, overrides, consensus)
    look = look_of(
        run, files, detections=detections, weights=weights, vectors=consensus is not None
    )
    rows: list[dict[str, Any]] = []
    for start in range(0, len(files), _BATCH):
        chunk = files[start : start + _BATCH]
        seen = look(chunk)
        concepts = [None] * len(chunk) if seen.concepts is None else seen.concepts
        rows += map(_row, chunk, run.captioning.captions(seen.inputs), concepts, seen.faults)
    for note, count in Counter(row["note"].split(":")[0] for row in rows if "note" in row).items():
        logging.warning("%d of %d images: %s", count, len(rows), note)
    write_predictions(Path(output, "captions.json"), rows)
    write_gallery(
        output,
        [_item(row, file) for row, file in zip(rows, files, strict=True)],
        title=f"{len(files)} images captioned",
        settings={"run": run_names(run.members), **run.config.decoding.to_dict()},
    )
    return rows


def look_of(
    run: TrainedRun,
    files: Sequence[Path],
    *,
    detections: Sequence[str],
    weights: str | None,
    vectors: bool = False,
) -> Look:
    """How a run looks at image files; arguments and errors as those of `caption_files`.

    With `vectors` a captioner is shown the vector of each image too, whatever it learned from.
    """
    if is_captioner(run.folder):
        if detections:
            raise InputError(f"{run.folder} is a captioner: it looks itself, without --detections")
        return captioner_look(run.members, weights, vectors=vectors)
    if not detections:
        raise InputError(
            f"{run.folder} is a run of R2M, which speaks of what detectors saw: give their files "
            "with --detections"
        )
    return concept_look(run, files, sources_as_trained(run.folder, detections))


def _row(
    file: Path, caption: str, concepts: Sequence[ImageConcept] | None, fault: str | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"image_id": file.name, "caption": caption}
    if concepts is not None:
        row["concepts"] = [
            {"word": c.word, "score": round(c.score, 4), "count": c.count}
            for c in reversed(concepts)
        ]
    if fault is not None:
        return {**row, "caption": "", "note": f"cannot be read: {fault[:200]}"}
    if concepts is not None and not concepts:
        row["note"] = "no concept was detected, the caption speaks of nothing seen"
    return row


def _item(row: dict[str, Any], file: Path) -> GalleryItem:
    return GalleryItem(
        image_id=row["image_id"],
        image=file,
        caption=row["caption"],
        concepts=[(concept["word"], concept["score"]) for concept in row.get("concepts", ())],
    )


def image_files(source: Path) -> list[Path]:
    """The images of a folder, or of a text file that lists them; raises `InputError` for none."""
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
        raise InputError(
            f"{source}: captions are kept by file name, and {twice[0]} is listed twice"
        )
    return files
