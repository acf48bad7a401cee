"""Retrieval metrics of trained embeddings on a split of records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from r2m.evaluation.output_files import prepare_output
from r2m.evaluation.retrieval import Member
from r2m.evaluation.retrieval_report import (
    RetrievalReport,
    evaluate_retrieval,
    write_retrieval_report,
)
from r2m.inference.retrieval_run import RetrievalRun
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records, open_records


class EncodedSplit(NamedTuple):
    """Vectors of the images and captions of a split.

    Attributes:
        names: names of the N images.
        texts: [M] captions.
        owners: int64[M], row of the image of each caption.
        member: the vectors.
    """

    names: list[str]
    texts: list[str]
    owners: np.ndarray
    member: Member


def encode_split(run: RetrievalRun, records: Records, split: str) -> EncodedSplit:
    """Encodes the images and captions of a split.

    Raises:
        InputError: the split does not exist, or the run cannot read the records.
    """
    check_split(records, split)
    names, images, captions = run.encode_records(records, split)
    texts = [text for own in captions for text in own]
    owners = np.repeat(np.arange(len(names)), [len(own) for own in captions])
    if not texts:
        raise InputError(f"{records.folder}: the images of split {split} have no captions")
    member = Member(images, run.encode_sentences(texts), run.similarity)
    return EncodedSplit(names, texts, owners, member)


def evaluate_retrieval_runs(
    runs: Sequence[RetrievalRun],
    records_folders: Sequence[str | Path],
    split: str,
    output: str | Path,
) -> RetrievalReport:
    """Evaluates an embedding, or several with averaged similarities.

    Writes `<split>.retrieval.json` and `.md` to `output`.

    Args:
        runs: the embeddings.
        records_folders: records of the same images and captions: one for all runs, or one per run
            in their order, for runs that read different features.
        split: split of the records.
        output: folder of the report.

    Raises:
        InputError: a folder is invalid, the split does not exist, images or captions differ between
            the records, or `retrieval_metrics` rejects the vectors.
    """
    if len(records_folders) not in (1, len(runs)):
        raise InputError(
            f"{len(records_folders)} folders of records for {len(runs)} runs: give one --records "
            "for all runs, or one per run in their order"
        )
    opened = [open_records(folder) for folder in records_folders]
    for records in opened:
        check_split(records, split)
    output = prepare_output(output)
    each = opened * len(runs) if len(opened) == 1 else opened
    first = encode_split(runs[0], each[0], split)
    members = [first.member]
    for run, records in zip(runs[1:], each[1:], strict=True):
        own = encode_split(run, records, split)
        members.append(_in_order_of(first, own, each[0], records))
    folders = [run.folder for run in runs]
    report = evaluate_retrieval(
        members,
        first.owners,
        split=f"{opened[0].name} {split}",
        settings={
            "run": ", ".join(folder.name for folder in folders),
            "step": ", ".join(str(folder.checkpoint.step) for folder in folders),
            "records": ", ".join(records.digest for records in opened),
        },
    )
    write_retrieval_report(output, report, f"{split}.retrieval")
    return report


def check_split(records: Records, split: str) -> None:
    """Raises `InputError` if records do not have a split."""
    if split not in records.splits:
        known = ", ".join(records.splits)
        raise InputError(f"{records.folder}: no split {split!r}; known: {known}")


def _in_order_of(
    first: EncodedSplit, own: EncodedSplit, first_records: Records, own_records: Records
) -> Member:
    """Returns vectors in the order of another encoded split of the same images and captions."""
    places = {name: row for row, name in enumerate(own.names)}
    missing = [name for name in first.names if name not in places]
    if missing or len(own.names) != len(first.names):
        example = f", for example {missing[0]}" if missing else ""
        raise InputError(
            f"{own_records.folder} has other images than {first_records.folder}{example}: members "
            "of an ensemble rank the same images and captions"
        )
    rows = np.array([places[name] for name in first.names])
    starts = np.searchsorted(own.owners, np.arange(len(own.names) + 1))
    captions = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])
    if [own.texts[caption] for caption in captions] != first.texts:
        raise InputError(
            f"{own_records.folder} has other captions than {first_records.folder}: members of an "
            "ensemble rank the same images and captions"
        )
    return Member(own.member.images[rows], own.member.captions[captions], own.member.similarity)
