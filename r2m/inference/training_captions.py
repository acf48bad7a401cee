"""Captions that runs were trained on, to recognize repeated ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from absl import logging

from pipelines.training_sentences import training_sentences
from r2m.configuration.settings import TRAINING_SPLIT
from r2m.evaluation.caption_statistics import KnownCaptions
from r2m.inference.run_folder import RunFolder
from tfrecords.core.errors import InputError
from tfrecords.core.records import check_same_vocabulary, open_records


def known_captions(folders: Sequence[RunFolder]) -> KnownCaptions | None:
    """Returns a recognizer of the training captions of these runs; for R2M, of its sentences.

    If the records of a run no longer exist or were rebuilt, it logs a note and returns None.
    """
    try:
        found = [
            _training_sentences(folder, kind)
            for folder in folders
            for kind in ("captions", "corpora")
            if folder.config.data.get(kind)
        ]
    except InputError as error:
        logging.info("novel captions are not counted: %s", error)
        return None
    return (lambda captions: np.any([own(captions) for own in found], axis=0)) if found else None


def _training_sentences(folder: RunFolder, kind: str) -> KnownCaptions:
    records = open_records(folder.config.data[kind], kind=kind)
    check_same_vocabulary(
        f"run {folder.path}", folder.vocabulary.sha256,
        str(records.folder), records.vocabulary_sha256,
    )  # fmt: skip
    return training_sentences(records, TRAINING_SPLIT)
