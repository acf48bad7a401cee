"""Label maps for the tests of detectors, of detection formats and of the builder of detections."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tfrecords.formats.detections.detection_files import CODES


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    """Class 1 is cat, class 2 lamp."""
    path = tmp_path / "labels.txt"
    path.write_text("cat\nlamp\n")
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Classes with codes: 1 Person, 2 Dog, 3 Sports ball."""
    path = tmp_path / "labels.csv"
    path.write_text("".join(f"{code},{name}\n" for code, name in CODES.items()))
    return path
