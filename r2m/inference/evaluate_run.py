"""Captions of a whole split by a trained run: predictions, scores, gallery."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from r2m.evaluation.caption_scores import CaptionScores, score_captions
from r2m.evaluation.gallery import GalleryItem, write_gallery
from r2m.evaluation.metrics import METRICS
from r2m.evaluation.output_files import prepare_output
from r2m.evaluation.predictions import prediction_rows, write_predictions
from r2m.evaluation.report import Report, write_report
from r2m.evaluation.tokenizers import tokenizer_for
from r2m.inference.consensus import ConsensusOptions
from r2m.inference.run import Run, RunPath
from r2m.inference.training_captions import known_captions
from tfrecords.errors import InputError
from tfrecords.records import Records, check_same_vocabulary
from tfrecords.vocabulary import Vocabulary
from tfrecords.writing.progress import CountProgress


def evaluate_run(
    runs: RunPath | Sequence[RunPath],
    records_folder: str | Path,
    split: str,
    output: str | Path,
    *,
    decoding: Mapping[str, Any] | None = None,
    consensus: ConsensusOptions | None = None,
    metrics: tuple[str, ...] = METRICS,
    tokenizer: str = "auto",
    gallery: int = 24,
    gallery_seed: int = 0,
) -> Report:
    """Captions a split of records and scores it against its references.

    Writes to `output`: `<split>.predictions.json` (COCO results), `<split>.report.json` and `.md`,
    and `<split>/index.html` with `gallery.png` of images drawn by seed. `runs`, `decoding` and
    `consensus` are those of `Run.load`.

    Raises:
        InputError: bad folders, a vocabulary that differs from the run's, no such split, images
            without references, or consensus where it cannot be.
    """
    run = Run.load(runs, decoding=decoding, consensus=consensus)
    settings = run.config.decoding.to_dict()
    records, vocabulary = run.open_records(records_folder), run.vocabulary
    if split not in records.splits:
        known = ", ".join(records.splits)
        raise InputError(f"{records_folder}: no split {split!r}; known: {known}")
    check_same_vocabulary(
        f"run {run.folders[0].path}",
        vocabulary.sha256,
        str(records_folder),
        records.vocabulary_sha256,
    )
    output = prepare_output(output)
    captions, images_per_second = _captioned(run, records, split)
    texts: dict[str, list[str]] = {}
    source_ids: dict[str, str] = {}
    for example in run.examples(records, split):
        texts[example["image_id"]] = example["texts"]
        source_ids[example["image_id"]] = example["source_id"]
    write_predictions(output / f"{split}.predictions.json", prediction_rows(captions, source_ids))
    references = {name: found for name, found in texts.items() if found}
    if not references:
        raise InputError(
            f"{records_folder}: the images of split {split} have no reference captions to score "
            f"against ({_references_cure(records, split)}); the predictions are in "
            f"{output / f'{split}.predictions.json'}"
        )
    logging.info("scoring the captions of %d images: %s", len(references), ", ".join(metrics))
    scores = score_captions(
        {name: captions[name] for name in references},
        references,
        metrics=metrics,
        tokenizer=tokenizer_for(vocabulary.segmenter, tokenizer),
        known=known_captions(run.folders),
    )
    report = Report(
        split=f"{records.name} {split}",
        scores=scores,
        decode=settings,
        settings={
            "run": run.name,
            "step": ", ".join(str(folder.checkpoint.step) for folder in run.folders),
            "records": records.digest,
            "vocabulary": vocabulary.sha256[:12],
            "images/s": images_per_second,
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
            for example in run.examples(records, split)
            if example["image_id"] in chosen
        ],
        title=f"{run.config.name}: {records.name} {split}",
        note=f"{len(chosen)} of {len(texts)} images, drawn with seed {gallery_seed}.",
        settings={"run": run.name, **settings},
    )
    return report


def _captioned(run: Run, records: Records, split: str) -> tuple[dict[str, str], str]:
    """Image id -> caption, and how many a second, reading included."""
    batches = run.record_batches(records, split)
    with CountProgress(f"captioning {split}", records.count(split), "images") as progress:
        captions = run.captioning.caption_batches(batches.take(1), progress)  # compiles
        first, started = len(captions), time.perf_counter()
        captions.update(run.captioning.caption_batches(batches.skip(1), progress))
        rate = (len(captions) - first) / (time.perf_counter() - started)
    return captions, f"{rate:.0f}" if len(captions) > first else "one batch: not measured"


def _item(
    example: dict[str, Any],
    captions: dict[str, str],
    vocabulary: Vocabulary,
    scores: CaptionScores,
) -> GalleryItem:
    name = example["image_id"]
    words = [vocabulary.words[i] for i in np.asarray(example.get("concepts", ()), int)]
    concept_scores = map(float, example.get("concept_scores", ()))
    return GalleryItem(
        image_id=name,
        image=example["image"],
        caption=captions[name],
        concepts=list(zip(words, concept_scores, strict=True))[::-1],
        references=example["texts"],
        cider=scores.per_image.get("cider", {}).get(name),
    )


def _references_cure(records: Records, split: str) -> str:
    """Returns the advice for records of which a split has no reference captions."""
    with_references = records.manifest.get("options", {}).get("reference_splits", [])
    if with_references and split not in with_references:
        wanted = ",".join([*with_references, split])
        return (
            f"they were built with --reference_splits={','.join(with_references)}: build them "
            f"again with --reference_splits={wanted} and --overwrite"
        )
    return "build them again with --references=FILE and --overwrite"
