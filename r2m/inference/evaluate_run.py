"""Evaluation of a trained run on a split: predictions, scores, gallery."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from r2m.configuration.decoding_settings import settings_to_report
from r2m.evaluation.caption_scores import CaptionScores, score_captions
from r2m.evaluation.caption_sets import score_caption_sets
from r2m.evaluation.caption_table import write_caption_lines, write_caption_table
from r2m.evaluation.comparison.evaluations import RECORDS_FOLDER
from r2m.evaluation.metrics import METRICS
from r2m.evaluation.output_files import prepare_output
from r2m.evaluation.pages.gallery import write_gallery
from r2m.evaluation.pages.gallery_items import GalleryItem, WordMaps, captions_of_row
from r2m.evaluation.predictions import prediction_rows, write_predictions
from r2m.evaluation.report import Report, write_report
from r2m.evaluation.report_sections import caption_sets_section
from r2m.evaluation.tokenizers import tokenizer_for
from r2m.inference.caption_keys import caption_keys
from r2m.inference.captioning import Hypothesis
from r2m.inference.concept_oracles import DETECTED, concept_batches, oracle_concepts
from r2m.inference.consensus import ConsensusOptions
from r2m.inference.evaluated_confidence import evaluate_confidence
from r2m.inference.image_text_scores import image_text_section, score_images_and_texts
from r2m.inference.retrieval_run import load_embedding
from r2m.inference.run import Run, RunPath
from r2m.inference.training_captions import known_captions
from r2m.inference.word_maps import WordMapReader
from tfrecords.core.errors import InputError
from tfrecords.core.progress import CountProgress
from tfrecords.core.records import Records, check_same_vocabulary
from tfrecords.core.vocabulary import Vocabulary


def evaluate_run(
    runs: RunPath | Sequence[RunPath],
    records_folder: str | Path,
    split: str,
    output: str | Path,
    *,
    decoding: Mapping[str, Any] | None = None,
    consensus: ConsensusOptions | None = None,
    captions: int = 1,
    concepts: str = DETECTED,
    ensemble_weights: Sequence[float] | None = None,
    precision: str = "float32",
    metrics: tuple[str, ...] = METRICS,
    tokenizer: str = "auto",
    gallery: int = 1_000,
    single_file: bool = False,
    attention: bool = False,
    gallery_seed: int = 0,
    retrieval_run: str | Path | None = None,
) -> Report:
    """Captions a split of records and scores the captions against its references.

    Writes to `output`: `<split>.predictions.json` (COCO results), the same as `.jsonl` and `.csv`,
    `<split>.report.json` and `.md`, and `<split>/index.html` with `gallery.png` of images drawn by
    seed (`single_file`: contains its pictures; `attention`: shows the attention for each word).
    `runs`, `decoding`, `consensus`, `ensemble_weights` and `precision` are those of `Run.load`.
    With several `captions` per image, the best one is scored, and all are scored by
    `score_caption_sets`. On the split `val` the confidence of captions is calibrated, see
    `evaluate_confidence`. With `retrieval_run`, the run folder of a visual-semantic embedding,
    captions have an `image_text_score` without references, and the report has its correlation with
    CIDEr. `concepts` other than `detected` replace those of R2M, see `oracle_concepts`; confidence
    is not calibrated then.

    Raises:
        InputError: a folder is invalid, the embedding cannot read the records, the vocabulary
            differs from the run's, the split does not exist, images have no references, consensus
            is not available, or more captions per image are requested than the search finds.
    """
    run = Run.load(
        runs,
        decoding=decoding,
        consensus=consensus,
        ensemble_weights=ensemble_weights,
        precision=precision,
    )
    map_reader = WordMapReader(run) if attention else None
    embedding = None if retrieval_run is None else load_embedding(retrieval_run)
    settings = settings_to_report(run.config.decoding.to_dict())
    run.captioning.returning(captions)  # checks the number
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
    replaced = None
    if concepts != DETECTED:
        replaced = oracle_concepts(run, run.examples(records, split), concepts)
    output = prepare_output(output)
    hypotheses, images_per_second = _captioned(run, records, split, captions, replaced)
    texts: dict[str, list[str]] = {}
    source_ids: dict[str, str] = {}
    for example in run.examples(records, split):
        texts[example["image_id"]] = example["texts"]
        source_ids[example["image_id"]] = example["source_id"]
    predictions = output / f"{split}.predictions.json"
    write_predictions(predictions, _rows(run, hypotheses, source_ids))
    references = {name: found for name, found in texts.items() if found}
    if not references:
        raise InputError(
            f"{records_folder}: the images of split {split} have no reference captions to score "
            f"against ({_references_advice(records, split)}); the predictions are in "
            f"{predictions}"
        )
    logging.info("scoring the captions of %d images: %s", len(references), ", ".join(metrics))
    tokenizer = tokenizer_for(vocabulary.segmenter, tokenizer)
    scores = score_captions(
        {name: _best(hypotheses[name]) for name in references},
        references,
        metrics=metrics,
        tokenizer=tokenizer,
        known=known_captions(run.folders),
    )
    sections = []
    if captions > 1:
        sets = {name: [one.caption for one in hypotheses[name]] for name in references}
        found = score_caption_sets(sets, references, metrics=metrics, tokenizer=tokenizer)
        sections.append(caption_sets_section(found))
    if replaced is None:
        hypotheses, section = evaluate_confidence(
            run, records, split, hypotheses, references, scores.tokenizer
        )
        if section is not None:
            sections.append(section)
    rows = _rows(run, hypotheses, source_ids)  # with confidences
    cider = scores.per_image.get("cider", {})
    if embedding is not None:
        best = {name: _best(own) for name, own in hypotheses.items()}
        image_text = score_images_and_texts(embedding, records, split, best)
        for row, name in zip(rows, hypotheses, strict=True):
            row["image_text_score"] = image_text.captions.get(name)
        sections.append(image_text_section(image_text, cider, embedding))
    files = _write_results(output, split, rows, [cider.get(name) for name in hypotheses])
    report = Report(
        split=f"{records.name} {split}",
        scores=scores,
        decode=settings,
        settings={
            "run": run.name,
            "step": ", ".join(str(folder.checkpoint.step) for folder in run.folders),
            "records": records.digest,
            RECORDS_FOLDER: os.path.relpath(Path(records.folder).resolve(), output.resolve()),
            "vocabulary": vocabulary.sha256[:12],
            "precision": run.precision,
            **({} if replaced is None else {"concepts": concepts}),
            "images/s": images_per_second,
        },
        predictions=predictions.name,
        sections=sections,
    )
    write_report(output, report, f"{split}.report")
    # Read a second time, because the pictures of a whole split do not fit in memory.
    chosen = set(random.Random(gallery_seed).sample(sorted(texts), min(gallery, len(texts))))
    maps = {}
    if map_reader is not None:
        best = {name: _best(own) for name, own in hypotheses.items()}
        maps = map_reader.of_records(records, split, best, chosen)
    by_name = dict(zip(hypotheses, rows, strict=True))
    some = f"{len(chosen)} of {len(texts)} images, drawn with seed {gallery_seed}."
    write_gallery(
        output / split,
        (
            _item(example, by_name[name], _concepts(example, vocabulary, replaced), scores, maps)
            for example in run.examples(records, split)
            if (name := example["image_id"]) in chosen
        ),
        title=f"{run.config.name}: {records.name} {split}",
        note=some if len(chosen) < len(texts) else "",
        settings={"run": run.name, **settings},
        single_file=single_file,
        links=[f"../{file.name}" for file in files],
    )
    return report


def _captioned(
    run: Run,
    records: Records,
    split: str,
    count: int,
    concepts: Mapping[str, Sequence[str]] | None,
) -> tuple[dict[str, list[Hypothesis]], str]:
    """Returns image id -> captions, best first, and the images per second, including reading."""
    captioning = run.captioning.returning(count)
    found: dict[str, list[Hypothesis]] = {}
    first, started = 0, 0.0
    batches: Iterable[dict[str, Any]] = (
        run.record_batches(records, split) if concepts is None else concept_batches(run, concepts)
    )
    with CountProgress(f"captioning {split}", records.count(split), "images") as progress:
        for batch in batches:
            names = [name.decode() for name in batch.pop("image_id").numpy()]
            found.update(zip(names, captioning.hypotheses(batch, names), strict=True))
            progress.add(len(names))
            if not first:  # compiles
                first, started = len(found), time.perf_counter()
        rate = (len(found) - first) / (time.perf_counter() - started)
    return found, f"{rate:.0f}" if len(found) > first else "one batch: not measured"


def _best(hypotheses: Sequence[Hypothesis]) -> str:
    """Returns the best caption; '' if the search found none."""
    return hypotheses[0].caption if hypotheses else ""


def _rows(
    run: Run, hypotheses: Mapping[str, Sequence[Hypothesis]], source_ids: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Returns predictions with their scores, see `caption_keys`."""
    rows = prediction_rows({name: _best(own) for name, own in hypotheses.items()}, source_ids)
    for row, own in zip(rows, hypotheses.values(), strict=True):
        row.update(caption_keys(own, run.config.decoding))
    return rows


def _write_results(
    output: Path, split: str, rows: Sequence[Mapping[str, Any]], cider: Sequence[float | None]
) -> list[Path]:
    """Writes predictions as COCO results, JSON Lines and a table; returns the files.

    The table also has the file name of each image, and the CIDEr (1.0 = 100) of its best caption.
    """
    stem = output / f"{split}.predictions"
    table = []
    for row, value in zip(rows, cider, strict=True):
        first, *others = row.get("captions") or [{}]
        scored = {"cider": "" if value is None else f"{value:.4f}"}
        captions = [{**first, **scored}, *({**other, "cider": ""} for other in others)]
        table.append({"file_name": row["image_id"], **row, "captions": captions})
    return [
        write_predictions(stem.with_name(f"{stem.name}.json"), rows),
        write_caption_lines(stem.with_name(f"{stem.name}.jsonl"), rows),
        write_caption_table(stem.with_name(f"{stem.name}.csv"), table, ("file_name", "cider")),
    ]


def _concepts(
    example: Mapping[str, Any],
    vocabulary: Vocabulary,
    replaced: Mapping[str, Sequence[str]] | None,
) -> list[tuple[str, float]]:
    """Returns the concepts of an image with their scores, the most important first."""
    if replaced is not None:
        return [(word, 1.0) for word in dict.fromkeys(replaced[example["image_id"]])]
    words = [vocabulary.words[i] for i in np.asarray(example.get("concepts", ()), int)]
    return list(zip(words, map(float, example.get("concept_scores", ())), strict=True))[::-1]


def _item(
    example: Mapping[str, Any],
    row: Mapping[str, Any],
    concepts: list[tuple[str, float]],
    scores: CaptionScores,
    maps: Mapping[str, WordMaps | None],
) -> GalleryItem:
    name = example["image_id"]
    return GalleryItem(
        image_id=name,
        image=example["image"] or None,
        captions=captions_of_row(row, {"cider": scores.per_image.get("cider", {}).get(name)}),
        concepts=concepts,
        references=example["texts"],
        attention=maps.get(name),
    )


def _references_advice(records: Records, split: str) -> str:
    """Returns advice for records with a split without reference captions."""
    with_references = records.manifest.get("options", {}).get("reference_splits", [])
    if with_references and split not in with_references:
        wanted = ",".join([*with_references, split])
        return (
            f"they were built with --reference_splits={','.join(with_references)}: build them "
            f"again with --reference_splits={wanted} and --overwrite"
        )
    return "build them again with --references=FILE and --overwrite"
