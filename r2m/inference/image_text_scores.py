"""Reference-free scores of captions: their similarities to the images in an embedding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from r2m.evaluation.correlation import Correlation, correlate
from r2m.evaluation.report import Section
from r2m.evaluation.similarity_blocks import pair_similarities
from r2m.inference.retrieval_run import RetrievalRun
from tfrecords.core.records import Records


class ImageTextScores(NamedTuple):
    """Similarities of captions to their images.

    Attributes:
        captions: image id -> similarity of its caption, for captions with a word in the vocabulary.
        references: image id -> mean similarity of its references.
        missing: number of captions without a word in the embedding's vocabulary.
    """

    captions: dict[str, float]
    references: dict[str, float]
    missing: int


def score_images_and_texts(
    run: RetrievalRun, records: Records, split: str, captions: Mapping[str, str]
) -> ImageTextScores:
    """Scores captions and references of a split with an embedding.

    Args:
        run: the embedding.
        records: records of the images, with the features that the embedding reads.
        split: split of the records.
        captions: image id -> caption, for images of the split.

    Raises:
        InputError: the embedding cannot read the records.
    """
    names, images, references = run.encode_records(records, split)
    rows = {name: row for row, name in enumerate(names)}
    known = [name for name, text in captions.items() if run.knows(text)]
    found = _similarities(run, images, [rows[name] for name in known], [captions[n] for n in known])
    owners, texts = [], []
    for row, own in enumerate(references):
        kept = [text for text in own if run.knows(text)]
        owners += [row] * len(kept)
        texts += kept
    human = _similarities(run, images, owners, texts)
    totals = np.bincount(owners, human, len(names))
    counts = np.bincount(owners, minlength=len(names))
    return ImageTextScores(
        dict(zip(known, map(float, found), strict=True)),
        {name: float(totals[row] / counts[row]) for name, row in rows.items() if counts[row]},
        len(captions) - len(known),
    )


def image_text_section(
    scores: ImageTextScores, cider: Mapping[str, float], run: RetrievalRun
) -> Section:
    """Returns the section of a report.

    Args:
        scores: scores of the captions.
        cider: image id -> CIDEr of its caption; empty if it was not computed.
        run: the embedding.
    """
    names = list(scores.captions)
    values = np.array([scores.captions[name] for name in names])
    correlation: Correlation | None = None
    if cider:
        correlation = correlate(values, np.array([cider.get(name, np.nan) for name in names]))
    mean = float(values.mean()) if len(values) else float("nan")
    of_references = [scores.references[name] for name in names if name in scores.references]
    human = float(np.mean(of_references)) if of_references else float("nan")
    lines = [
        "## Image-text score",
        "",
        f"Mean {run.similarity} similarity of captions and images in the embedding "
        f"{run.folder.name}, without "
        "references.",
        "",
        "| | |",
        "|---|---:|",
        f"| generated captions | {mean:.4f} |",
        f"| reference captions of the same images | {human:.4f} |",
    ]
    if correlation is not None:
        lines += [
            f"| Pearson correlation with CIDEr ({correlation.captions} images) "
            f"| {correlation.pearson:.3f} |",
            f"| Spearman correlation with CIDEr | {correlation.spearman:.3f} |",
        ]
    if scores.missing:
        lines.append(f"| captions with only unknown words | {scores.missing} |")
    content = {
        "run": run.folder.name,
        "step": run.folder.checkpoint.step,
        "similarity": run.similarity,
        "mean": mean,
        "mean_of_references": human,
        "correlation_with_cider": None if correlation is None else correlation._asdict(),
        "captions_without_known_words": scores.missing,
    }
    return Section("image_text_score", content, lines)


def _similarities(
    run: RetrievalRun, images: np.ndarray, rows: list[int], texts: list[str]
) -> np.ndarray:
    """Returns the similarity of each text to the image in its row, float32[N]."""
    if not texts:
        return np.zeros(0, np.float32)
    vectors = run.encode_sentences(texts)
    return pair_similarities(images, vectors, np.array(rows), run.similarity)
