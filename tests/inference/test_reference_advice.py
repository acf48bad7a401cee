"""Advice for records without reference captions."""

from __future__ import annotations

from pathlib import Path

import pytest

from r2m.inference.evaluate_run import _references_advice
from tfrecords.core.records import Records


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"reference_splits": ["test", "val"]}, "again with --reference_splits=test,val,train and"),
        ({"reference_splits": []}, "--references=FILE"),
        ({}, "--references=FILE"),
    ],
)
def test_the_flag_that_is_missing_is_named(options: dict[str, object], advice: str) -> None:
    records = Records(folder=Path("x"), kind="images", name="x", manifest={"options": options})
    assert advice in _references_advice(records, "train")
