"""Report of a retrieval evaluation: the protocol, the number of images, and the metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from r2m.evaluation.hubness import hub_offsets
from r2m.evaluation.output_files import write_whole
from r2m.evaluation.report import versions
from r2m.evaluation.retrieval import (
    DIRECTIONS,
    FOLD_IMAGES,
    FOLDS,
    RECALLS,
    Member,
    corrected_ranks,
    metrics_of_ranks,
    retrieval_ranks,
    split_folds,
)

FORMAT = 1
ALL_QUERIES = "uses all queries at once, which are not available in a search"
_CORRECTIONS = {"csls": "CSLS", "inverted_softmax": "inverted softmax"}
TIES = "equal similarities count against the correct item"
DEFINITIONS = (
    "i2t: the rank of an image is that of the best of its captions among all captions. t2i: the "
    "rank of a caption is that of its image among all images. R@K: percentage of ranks up to K. "
    "Sum: of the six recalls."
)


class Row(NamedTuple):
    """Metrics by one protocol.

    Attributes:
        name: `all`, `folds`, `csls` or `inverted_softmax`.
        protocol: description of their computation.
        images: N, number of images of each query set or gallery.
        metrics: see `r2m.evaluation.retrieval.retrieval_metrics`.
        uses_all_queries: whether similarities were corrected with all queries.
    """

    name: str
    protocol: str
    images: int
    metrics: dict[str, float]
    uses_all_queries: bool = False


@dataclass(frozen=True, kw_only=True)
class RetrievalReport:
    """One evaluation.

    Attributes:
        split: records and split that were evaluated, for example `flickr8k val`.
        similarity: `cosine` or `order`.
        images: N.
        captions_per_image: smallest and largest number.
        captions: M.
        members: embeddings whose similarities were averaged.
        rows: metrics by protocol.
        settings: further identification of the evaluation: runs, steps, records.
    """

    split: str
    similarity: str
    images: int
    captions: int
    captions_per_image: tuple[int, int]
    members: int
    rows: Sequence[Row]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """Protocol in one line."""
        least, most = self.captions_per_image
        each = f"{least}" if least == most else f"{least} to {most}"
        ensemble = f", mean similarities of {self.members} embeddings" if self.members > 1 else ""
        return (
            f"{self.split}: N = {self.images} images, {self.captions} captions ({each} per image), "
            f"{self.similarity} similarity{ensemble}; {TIES}"
        )


def evaluate_retrieval(
    members: Sequence[Member],
    owners: np.ndarray,
    *,
    split: str,
    settings: Mapping[str, Any] | None = None,
) -> RetrievalReport:
    """Computes the metrics of a set by every protocol that its size permits.

    The rows are: all images at once (named 5K for 5,000 images); from 5,000 images on the mean of
    five folds of 1,000 images (named 1K); all at once with CSLS and with the inverted softmax.

    Args:
        members: embeddings, see `retrieval_ranks`.
        owners: int[M], the row of the image that each caption describes.
        split: records and split that are evaluated, for the report.
        settings: further identification of the evaluation.

    Raises:
        InputError: see `retrieval_metrics`.
    """
    images = len(members[0].images)
    plain = metrics_of_ranks(retrieval_ranks(members, owners))
    name = " (5K)" if images == FOLD_IMAGES * FOLDS else ""
    rows = [Row("all", f"all {images} images at once{name}", images, plain)]
    if images >= FOLD_IMAGES * FOLDS:
        folds = [metrics_of_ranks(retrieval_ranks(*fold)) for fold in split_folds(members, owners)]
        mean = {key: float(np.mean([fold[key] for fold in folds])) for key in folds[0]}
        title = f"mean of {FOLDS} folds of {FOLD_IMAGES} images (1K)"
        rows.append(Row("folds", title, FOLD_IMAGES, mean))
    offsets = hub_offsets(members, owners)
    corrected = corrected_ranks(members, owners, list(offsets.values()))
    for key, ranks in zip(offsets, corrected, strict=True):
        protocol = f"all, {_CORRECTIONS[key]}: {ALL_QUERIES}"
        rows.append(Row(key, protocol, images, metrics_of_ranks(ranks), True))
    counts = np.bincount(np.asarray(owners, np.int64), minlength=images)
    return RetrievalReport(
        split=split,
        similarity=members[0].similarity,
        images=images,
        captions=len(owners),
        captions_per_image=(int(counts.min()), int(counts.max())),
        members=len(members),
        rows=rows,
        settings=settings or {},
    )


def retrieval_json(report: RetrievalReport) -> dict[str, Any]:
    """Returns the report as plain data; recalls are percentages."""
    return {
        "format": FORMAT,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "protocol": report.protocol,
        "definitions": DEFINITIONS,
        "split": report.split,
        "images": report.images,
        "captions": report.captions,
        "captions_per_image": list(report.captions_per_image),
        "similarity": report.similarity,
        "members": report.members,
        "metrics": {row.name: row._asdict() for row in report.rows},
        "settings": dict(report.settings),
        "versions": versions(),
    }


def retrieval_markdown(report: RetrievalReport) -> str:
    """Returns the report as Markdown."""
    recalls = [(way, recall) for way in DIRECTIONS for recall in RECALLS]
    ranks = [(way, kind) for way in DIRECTIONS for kind in ("median", "mean")]
    heads = [
        *("protocol", "N"),
        *(f"{way} R@{recall}" for way, recall in recalls),
        "sum",
        *(f"{way} {kind} rank" for way, kind in ranks),
    ]
    lines = [
        f"# {report.split}: retrieval",
        "",
        f"Protocol: {report.protocol}.",
        "",
        f"| {' | '.join(heads)} |",
        f"|---|{'---:|' * (len(heads) - 1)}",
    ]
    for row in report.rows:
        keys = [
            *(f"{way}_r{recall}" for way, recall in recalls),
            "recall_sum",
            *(f"{way}_{kind}_rank" for way, kind in ranks),
        ]
        values = [f"{row.metrics[key]:.1f}" for key in keys]
        lines.append(f"| {row.protocol} | {row.images} | {' | '.join(values)} |")
    lines += ["", DEFINITIONS, "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in report.settings.items()]
    lines.append(f"| versions | {', '.join(f'{k} {v}' for k, v in versions().items())} |")
    return "\n".join(lines) + "\n"


def write_retrieval_report(
    folder: str | Path, report: RetrievalReport, name: str
) -> tuple[Path, Path]:
    """Writes `<name>.json` and `<name>.md` and returns their paths.

    Raises:
        InputError: the folder cannot be created, or the disk is full.
    """
    text = json.dumps(retrieval_json(report), indent=2, ensure_ascii=False, default=str)
    return (
        write_whole(Path(folder, f"{name}.json"), text + "\n"),
        write_whole(Path(folder, f"{name}.md"), retrieval_markdown(report)),
    )
