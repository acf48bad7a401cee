"""Calibration of a run: stored per weights and settings, and not used for others."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from r2m.evaluation.confidence import Calibration, Reliability
from r2m.inference.calibration_file import (
    CALIBRATION_FILE,
    StoredCalibration,
    read_calibration,
    write_calibration,
)

RELIABILITY = Reliability(
    bins=(), base_rate=0.4, brier=0.2, base_brier=0.24, calibration_error=0.03
)


def _identity(steps: tuple[int, ...] = (300,), **decoding: Any) -> dict[str, Any]:
    return {
        "checkpoints": [
            {"run": "updown/cross_entropy", "step": step, "digest": f"{step:08x}"} for step in steps
        ],
        "decoding": {"beam_size": 3, "max_length": 20, **decoding},
    }


def _stored(slope: float) -> StoredCalibration:
    calibration = Calibration(intercept=1.0, slope=slope, threshold=0.7, base_rate=0.4, images=1000)
    return StoredCalibration(calibration, "flickr8k val")


def test_a_setting_that_was_renamed_is_found(tmp_path: Path) -> None:
    write_calibration(tmp_path, _identity(neighbors=60), _stored(1.0), RELIABILITY)
    file = tmp_path / CALIBRATION_FILE
    file.write_text(file.read_text().replace("neighbors", "neighbours"))
    assert read_calibration(tmp_path, _identity(neighbors=60)) == _stored(1.0)


def test_a_calibration_holds_for_its_weights_and_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for slope, identity in (
        (1.0, _identity()),
        (2.0, _identity(beam_size=5)),
        (3.0, _identity((300, 500))),
        (4.0, _identity()),  # replaces the first one
    ):
        write_calibration(tmp_path, identity, _stored(slope), RELIABILITY)
    moved = _identity()
    moved["checkpoints"][0]["run"] = "elsewhere/best"
    assert read_calibration(tmp_path, moved) == _stored(4.0)
    assert read_calibration(tmp_path, _identity(beam_size=5)) == _stored(2.0)
    assert read_calibration(tmp_path, _identity((300, 500))) == _stored(3.0)
    assert not caplog.messages
    assert read_calibration(tmp_path, _identity(max_length=9)) is None
    assert "other decoding settings (max_length 20, now 9); r2m-evaluate on" in caplog.messages[-1]
    assert read_calibration(tmp_path, _identity((400,))) is None
    assert "fitted with other weights, of step 300 (now: step 400)" in caplog.messages[-1]
    # Calibrations of weights that no longer exist are removed.
    write_calibration(tmp_path, _identity((400,)), _stored(5.0), RELIABILITY)
    assert len(json.loads((tmp_path / CALIBRATION_FILE).read_text())["calibrations"]) == 1


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"format": 2, "calibrations": []}', '{"format": 1, "calibrations": [3, {}]}'],
)
def test_a_damaged_file_is_no_calibration(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / CALIBRATION_FILE).write_text(text)
    assert read_calibration(tmp_path, _identity()) is None
    assert "contains no readable calibration; r2m-evaluate" in caplog.text
    write_calibration(tmp_path, _identity(), _stored(1.0), RELIABILITY)
    assert read_calibration(tmp_path, _identity()) == _stored(1.0)


def test_a_run_without_a_calibration_says_how_to_make_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "absl"):
        assert read_calibration(tmp_path, _identity()) is None
    (said,) = caplog.messages
    assert CALIBRATION_FILE in said and "r2m-evaluate on the validation split" in said
