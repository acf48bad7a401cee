"""Captions of image files, in files: JSON Lines, COCO results, a table and a gallery."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from r2m.configuration.decoding_settings import settings_to_report
from r2m.evaluation.caption_table import write_caption_table
from r2m.evaluation.output_files import prepare_output
from r2m.evaluation.pages.gallery import FILES, SHEET, remove_gallery, spread, write_gallery
from r2m.evaluation.pages.gallery_items import WordMaps
from r2m.evaluation.predictions import write_predictions
from r2m.inference.caption_log import LINES_FILE, CaptionLog
from r2m.inference.caption_rows import caption_row, row_item
from r2m.inference.consensus import ConsensusOptions
from r2m.inference.loaded_model import ImageReader
from r2m.inference.run import IMAGES_AT_ONCE, Run, RunPath
from r2m.inference.sidecar_files import output_stems, remove_sidecars, write_sidecars
from r2m.inference.word_maps import WordMapReader
from tfrecords.core.errors import InputError
from tfrecords.core.progress import CountProgress
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.pictures.named_images import ImageFile, ImageFiles, named_files

_CAPTIONS = "captions.json"
_TABLE = "captions.csv"
_SIDECARS = "sidecar"


class CaptionedFiles(NamedTuple):
    """Summary of captioned image files.

    Attributes:
        rows: rows of the images that the gallery shows, in order: `image_id`, `caption`,
            `log_probability`, `score`, `length_penalty` and `length_normalization`, where it is
            calibrated `confidence`, by consensus `consensus_score`, with several captions per image
            `captions` (each with these keys, best first), for R2M `concepts` (word, score, count;
            best first) and, for a problem with the image, `note`. An unreadable image has an empty
            caption and a `reason`, see WORKSPACE.md.
        images: number of images.
        unread: reason -> number of images that could not be read.
        passed_over: reason -> number of skipped entries of the folder that are not pictures.
    """

    rows: list[dict[str, Any]]
    images: int
    unread: Counter[str]
    passed_over: Counter[str]


def caption_files(
    runs: RunPath | Sequence[RunPath],
    sources: Path | Sequence[Path],
    output: str | Path,
    *,
    recursive: bool = True,
    detections: Sequence[str] = (),
    weights: str | None = None,
    ensemble_weights: Sequence[float] | None = None,
    precision: str = "float32",
    decoding: Mapping[str, Any] | None = None,
    consensus: ConsensusOptions | None = None,
    captions: int = 1,
    gallery: int = 5_000,
    single_file: bool = False,
    attention: bool = False,
    sidecar: bool = False,
    overwrite: bool = False,
    batch_size: int = IMAGES_AT_ONCE,
) -> CaptionedFiles:
    """Captions image files batch by batch, with memory independent of their number.

    R2M requires detections in the images; its concepts are chosen by the rules of the image records
    that it was trained with. A captioner requires the backbone that its records were built with,
    unless it reads pixels.

    Captions are written to `captions.jsonl` as they are found, and at the end to `captions.json`
    (COCO results) and `captions.csv`, with a gallery, see `write_gallery`. After an interruption
    the same call resumes; see `CaptionLog`.

    Args:
        runs: folder of a trained stage; several captioners make an ensemble, see `Run.load`.
        sources: one or several folders of images, text files that list images, or images.
        output: folder to write to.
        recursive: whether to include images in subfolders. Images are identified by their paths
            relative to the folder.
        detections: files `FILE[+COMPANION][,MIN_SCORE[,WEIGHT]]` with detections, matched by those
            names.
        weights: file of the backbone's weights.
        ensemble_weights: weights of the probabilities of each run, see `Run.load`.
        precision: precision of activations, see `Run.load`.
        decoding: changes to the run's `decoding` settings, by name.
        consensus: options of reranking by consensus, see `Run.load`.
        captions: number of captions per image.
        gallery: maximum number of images in the gallery, evenly spaced.
        single_file: whether the gallery is one file that contains its pictures.
        attention: whether the gallery shows the attention of the captioner for each word.
        sidecar: whether to also write a text file per image to the folder `sidecar`.
        overwrite: whether to replace unfinished captions of other images or settings, and to find
            finished ones again.
        batch_size: images per batch.

    Raises:
        InputError: there are no images, no image has detections, an image would be overwritten, a
            run cannot be opened or lacks a required input, more captions are requested than the
            beam has hypotheses, or the folder contains unfinished captions of other images or
            settings.
    """
    listed = [sources] if isinstance(sources, Path) else sources
    output = Path(output)
    files, passed_over = _without_output(named_files(listed, recursive=recursive), output)
    run = Run.load(
        runs,
        decoding=decoding,
        consensus=consensus,
        weights=weights,
        ensemble_weights=ensemble_weights,
        precision=precision,
    )
    reader = run.image_reader(files, detections)
    run.captioning.returning(captions)  # checks the number before anything is written
    map_reader = WordMapReader(run) if attention else None
    if sidecar:
        output_stems(files)  # checks the names
    calibration = None if run.calibration is None else asdict(run.calibration.calibration)
    settings = {
        **run.identity(),
        "captions": captions,
        "calibration": calibration,
        **_inputs_identity(detections, weights),
    }
    prepare_output(output)
    with CaptionLog(output, files, settings, overwrite=overwrite) as log:
        if log.count == 0:
            for name in (_CAPTIONS, _TABLE):  # of earlier captions
                (output / name).unlink(missing_ok=True)
            remove_gallery(output)
            remove_sidecars(output / _SIDECARS)
        _caption_remaining(run, files, reader, log, captions, batch_size)
        unread = _report_faults(log)
        write_predictions(output / _CAPTIONS, log.rows())
        write_caption_table(output / _TABLE, log.rows())
        if sidecar:
            write_sidecars(output / _SIDECARS, files, log.rows())
        chosen = spread(len(files), gallery)
        shown = [
            (file, row)
            for place, (file, row) in enumerate(zip(files, log.rows(), strict=True))
            if place in chosen
        ]
        maps = None if map_reader is None else map_reader.of_images(_captioned(shown), reader)
        _write_gallery(output, shown, len(files), run, maps, single_file)
    return CaptionedFiles([row for _, row in shown], len(files), unread, passed_over)


def _caption_remaining(
    run: Run,
    files: Sequence[ImageFile],
    reader: ImageReader,
    log: CaptionLog,
    captions: int,
    batch_size: int,
) -> None:
    """Captions the images that the log does not contain yet."""
    remaining = itertools.islice(files, log.count, None)
    batches = run.caption_images(remaining, reader, captions=captions, batch_size=batch_size)
    with CountProgress("captioning", len(files), "images", done=log.count) as progress:
        for batch in batches:
            log.append(caption_row(image, run.config.decoding) for image in batch)
            progress.add(len(batch))


def _report_faults(log: CaptionLog) -> Counter[str]:
    """Warns of images that could not be read or have no concepts; returns reason -> number."""
    unread: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for row in log.rows():
        if "reason" in row:
            unread[row["reason"]] += 1
        if "note" in row:
            notes[row["note"].split(":")[0]] += 1
    for note, count in notes.items():
        logging.warning("%d of %d images: %s", count, log.count, note)
    return unread


def _captioned(
    shown: Iterable[tuple[ImageFile, dict[str, Any]]],
) -> Iterator[tuple[ImageFile, str]]:
    for file, row in shown:
        yield file, row["caption"]


def _write_gallery(
    output: Path,
    shown: Sequence[tuple[ImageFile, dict[str, Any]]],
    count: int,
    run: Run,
    maps: Iterable[WordMaps | None] | None,
    single_file: bool,
) -> None:
    """Writes a gallery of some of `count` images, with their attention maps if given."""
    maps = itertools.repeat(None, len(shown)) if maps is None else maps
    some = f"{len(shown):,} of {count:,} images, at even distances."
    write_gallery(
        output,
        (row_item(row, file.path, own) for (file, row), own in zip(shown, maps, strict=True)),
        title=f"{count:,} image{'s' * (count != 1)} captioned",
        note=some if len(shown) < count else "",
        settings={"run": run.name, **settings_to_report(run.config.decoding.to_dict())},
        single_file=single_file,
        links=[_CAPTIONS, LINES_FILE, _TABLE],
    )


def _inputs_identity(detections: Sequence[str], weights: str | None) -> dict[str, Any]:
    """Returns the identities of the files that captions depend on besides run and images."""
    files = [file for text in detections for file in DetectionSource.parse(text).files]
    files += [] if weights is None else [Path(weights)]
    return {
        "detections": list(detections),
        "weights": weights,
        "files": [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files],
    }


def _without_output(found: ImageFiles, output: Path) -> ImageFiles:
    """Skips gallery pictures of an earlier call, if the output is inside the folder of images."""
    own = {os.path.realpath(file) for file in (output / SHEET, *output.glob(f"{FILES}/*"))}
    files = [file for file in found.files if os.path.realpath(file.path) not in own]
    if len(files) == len(found.files):
        return found
    written = next(file.path for file in found.files if os.path.realpath(file.path) in own)
    if not any((output / name).exists() for name in (_CAPTIONS, LINES_FILE)):
        raise InputError(
            f"{written} is one of the images, and the gallery would overwrite it: give "
            "another --output"
        )
    if not files:
        raise InputError(f"{written} and all other images are from an earlier gallery")
    return ImageFiles(files, found.passed_over + Counter(own_output=len(found.files) - len(files)))
