"""Captions of a whole split by a trained run: predictions, scores, gallery."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from pipelines import images
from pipelines.concepts import assemble
from r2m.evaluation.captions import METRICS, CaptionScores, score_captions
from r2m.evaluation.gallery import GalleryItem, write_gallery
from r2m.evaluation.predictions import write_predictions
from r2m.evaluation.report import Report, write_report
from r2m.stages.data import concept_options
from r2m.stages.experiment import CONCEPTS_FILE, load_captioner
from r2m.stages.validation import Captioning, search_options
from tfrecords.concepts import ConceptDictionary
from tfrecords.errors import InputError
from tfrecords.images import IMAGE_SUFFIXES
from tfrecords.readers.detections import DetectionSource, image_concepts, read_detections
from tfrecords.records import check_same_vocabulary
from tfrecords.vocabulary import Vocabulary

# Images captioned at once.
_BATCH = 256


def open_captioning(
    run_folder: str | Path, overrides: dict[str, Any] | None = None
) -> tuple[Captioning, Vocabulary, Any]:
    """A trained run, ready to caption.

    Args:
        run_folder: of a stage, for example `workspace/runs/shapes/tri_rec`.
        overrides: of the run's `decoding` settings (beam_size, max_length, length_normalization).

    Returns:
        The captioning, its vocabulary and the run's configuration with the overrides in it.

    Raises:
        InputError: not a run folder, or impossible settings.
    """
    model, vocabulary, saved = load_captioner(run_folder)
    config = ConfigDict(saved["config"])
    config.decoding.update(overrides or {})
    try:
        search = search_options(config, vocabulary)
    except ValueError as error:
        raise InputError(f"decoding: {error}") from error
    return Captioning(model, vocabulary, search), vocabulary, config


def evaluate_run(
    run_folder: str | Path,
    images_folder: str | Path,
    split: str,
    output: str | Path,
    *,
    overrides: dict[str, Any] | None = None,
    metrics: tuple[str, ...] = METRICS,
    tokenizer: str = "auto",
    gallery: int = 24,
    gallery_seed: int = 0,
) -> Report:
    """Captions a split of image records and scores it against its references.

    Writes to `output`: `<split>.predictions.json` (COCO results), `<split>.report.json` and `.md`,
    and `<split>/index.html` with `gallery.png` of images drawn by seed.

    Raises:
        InputError: bad folders, a vocabulary that differs from the run's, no such split, or images
            without references.
    """
    captioning, vocabulary, config = open_captioning(run_folder, overrides)
    records = images.open_images(str(images_folder))
    if split not in records.splits:
        known = ", ".join(records.splits)
        raise InputError(f"{images_folder}: no split {split!r}; known: {known}")
    check_same_vocabulary(
        f"run {run_folder}", vocabulary.sha256, str(images_folder), records.vocabulary_sha256
    )
    captions = captioning.caption_split(records, split, concept_options(config))
    output = Path(output)
    write_predictions(
        output / f"{split}.predictions.json",
        [{"image_id": name, "caption": caption} for name, caption in captions.items()],
    )
    examples = list(images.examples(records, split))
    references = {e["image_id"]: e["texts"] for e in examples if e["texts"]}
    if not references:
        raise InputError(
            f"{images_folder}: the images of split {split} have no reference captions to score "
            "against (build them with --references); the predictions are in "
            f"{output / f'{split}.predictions.json'}"
        )
    scores = score_captions(
        {name: captions[name] for name in references},
        references,
        metrics=metrics,
        tokenizer=tokenizer,
    )
    report = Report(
        split=f"{records.name} {split}", scores=scores, decode=config.decoding.to_dict()
    )
    write_report(output, report, f"{split}.report")
    chosen = random.Random(gallery_seed).sample(examples, min(gallery, len(examples)))
    write_gallery(
        output / split,
        [_item(example, captions, vocabulary, scores) for example in chosen],
        title=f"{config.name}: {records.name} {split}",
        note=f"{len(chosen)} of {len(examples)} images, drawn with seed {gallery_seed}.",
        settings={"run": Path(run_folder).name, **config.decoding.to_dict()},
    )
    return report


def _item(
    example: dict[str, Any],
    captions: dict[str, str],
    vocabulary: Vocabulary,
    scores: CaptionScores,
) -> GalleryItem:
    name = example["image_id"]
    words = [vocabulary.words[i] for i in np.asarray(example["concepts"])]
    return GalleryItem(
        image_id=name,
        image=example["image"],
        caption=captions[name],
        concepts=list(zip(words, map(float, example["concept_scores"]), strict=True))[::-1],
        references=example["texts"],
        cider=scores.per_image.get("cider", {}).get(name),
    )


def caption_files(
    run_folder: str | Path,
    source: Path,
    detections: Sequence[DetectionSource],
    output: str | Path,
    *,
    overrides: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Captions image files of which detections are at hand.

    Writes `captions.json` (COCO results with the concepts), `index.html` and `gallery.png`.

    Args:
        run_folder: of a trained stage.
        source: a folder of images, or a text file that lists them.
        detections: what detectors saw in them, by file name.
        output: folder to write to.
        overrides: of the run's `decoding` settings.

    Returns:
        A row an image: `image_id`, `caption`, `concepts` (word, score, count; best first).

    Raises:
        InputError: no images, detections of none of them, or a run that cannot be opened.
    """
    files = _image_files(source)
    seen = read_detections(detections)
    if not any(file.name in seen for file in files):
        raise InputError(
            f"the detections know none of the {len(files)} images of {source}: they list images "
            f"such as {next(iter(seen))}, the images are called such as {files[0].name}"
        )
    captioning, vocabulary, config = open_captioning(run_folder, overrides)
    dictionary_file = Path(run_folder, CONCEPTS_FILE)
    dictionary = ConceptDictionary.from_json(dictionary_file.read_text(), str(dictionary_file))
    options = concept_options(config)
    found = [
        image_concepts(
            seen[file.name], dictionary, sources=detections, max_concepts=options.max_concepts
        )
        if file.name in seen
        else []
        for file in files
    ]
    inputs, lengths = assemble(
        tf.ragged.constant([[vocabulary.id_of(c.word) for c in row] for row in found], tf.int64),
        tf.ragged.constant([[c.count for c in row] for row in found], tf.int64),
        options,
        key=None,
        order="kept",
    )
    rows = []
    for start in range(0, len(files), _BATCH):
        chunk = slice(start, start + _BATCH)
        captions = captioning.captions(inputs[chunk], lengths[chunk])
        for file, caption, concepts in zip(files[chunk], captions, found[chunk], strict=True):
            best_first = [
                {"word": c.word, "score": round(c.score, 4), "count": c.count}
                for c in reversed(concepts)
            ]
            rows.append({"image_id": file.name, "caption": caption, "concepts": best_first})
    write_predictions(Path(output, "captions.json"), rows)
    write_gallery(
        output,
        [
            GalleryItem(
                image_id=row["image_id"],
                image=file,
                caption=row["caption"],
                concepts=[(c["word"], c["score"]) for c in row["concepts"]],
            )
            for file, row in zip(files, rows, strict=True)
        ],
        title=f"{len(files)} images captioned",
        settings={"run": Path(run_folder).name, **config.decoding.to_dict()},
    )
    return rows


def _image_files(source: Path) -> list[Path]:
    if source.is_dir():
        files = sorted(f for f in source.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise InputError(f"{source}: no image files ({', '.join(IMAGE_SUFFIXES)}) in there")
        return files
    if not source.is_file():
        raise InputError(f"{source}: no such folder of images or list of image files")
    lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    files = [source.parent / line for line in lines if line]
    if not files:
        raise InputError(f"{source}: the list names no image")
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{source}: {len(missing)} of the {len(files)} images listed do not exist, the first "
            f"is {missing[0]}; names are relative to the folder of the list"
        )
    return files
