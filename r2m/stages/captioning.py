"""Captions of a whole split by a trained run: predictions, scores, gallery."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pipelines import images
from r2m.engine.persistence import checkpoints
from r2m.evaluation.captions import CaptionScores, score_captions
from r2m.evaluation.gallery import GalleryItem, write_gallery
from r2m.evaluation.metrics import METRICS
from r2m.evaluation.predictions import write_predictions
from r2m.evaluation.report import Report, write_report
from r2m.stages.data import concept_options
from r2m.stages.experiment import load_captioner
from r2m.stages.validation import Captioning, search_options
from tfrecords.errors import InputError
from tfrecords.records import check_same_vocabulary
from tfrecords.vocabulary import Vocabulary


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
    return Captioning(model, vocabulary, search_options(config, vocabulary)), vocabulary, config


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
    captions = captioning.caption_batches(
        images.concept_batches(records, split, concept_options=concept_options(config))
    )
    output = Path(output)
    write_predictions(
        output / f"{split}.predictions.json",
        [{"image_id": name, "caption": caption} for name, caption in captions.items()],
    )
    texts = {e["image_id"]: e["texts"] for e in images.examples(records, split)}
    references = {name: found for name, found in texts.items() if found}
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
        split=f"{records.name} {split}",
        scores=scores,
        decode=config.decoding.to_dict(),
        settings={
            "run": str(run_folder),
            "step": checkpoints.require_best_or_latest(run_folder).step,
            "records": records.digest,
            "vocabulary": vocabulary.sha256[:12],
        },
        predictions=f"{split}.predictions.json",
    )
    write_report(output, report, f"{split}.report")
    # Read once more: the pictures of a whole split are too many to keep.
    chosen = set(random.Random(gallery_seed).sample(sorted(texts), min(gallery, len(texts))))
    write_gallery(
        output / split,
        [
            _item(example, captions, vocabulary, scores)
            for example in images.examples(records, split)
            if example["image_id"] in chosen
        ],
        title=f"{config.name}: {records.name} {split}",
        note=f"{len(chosen)} of {len(texts)} images, drawn with seed {gallery_seed}.",
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
