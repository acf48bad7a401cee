"""The toy detectors on the import path, and their label map."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import detection_files


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
    path.write_text("".join(f"{code},{name}\n" for code, name in detection_files.CODES.items()))
    return path
