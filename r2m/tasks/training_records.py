"""Caption records for training a captioner or an embedding."""

from __future__ import annotations

from typing import Any

from pipelines import captions
from r2m.configuration.settings import TRAINING_SPLIT
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records


def open_training_records(config: Any) -> Records:
    """Opens the records that `config.data.captions` names.

    Raises:
        InputError: the path is missing or contains no finished `captions` records, or there is no
            training data.
    """
    if not config.data.captions:
        raise InputError(
            "no caption records given: pass --captions=FOLDER, made by r2m-build-captions"
        )
    records = captions.open_captions(config.data.captions)
    if TRAINING_SPLIT not in records.splits:
        raise InputError(
            f"{records.folder}: no split {TRAINING_SPLIT!r} to train on, only "
            f"{', '.join(records.splits)}; build the records with --split=train=FILE"
        )
    return records
