"""Combinations of flags that are rejected."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from forked_processes import run_forked


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            ["evaluate", "--run=a", "--run=b", "--records=c"],
            "error: 2 runs make an ensemble.*--output",
        ),
        (
            ["show_attention", "x.png", "--model=a", "--model=b", "--output=c"],
            "flag --model=b: already defined as a",
        ),
        (
            ["caption", "--run=a", "--images=b", "--output=c", "--sharpness=2"],
            "error: --sharpness requires --neighbors",
        ),
        (
            ["caption", "--run=a", "--images=b", "--output=c", "--neighbors=3", "--image_text=2"],
            "error: --image_text requires --consensus_embedding",
        ),
        (
            ["caption", "--run=a", "--images=b", "--output=c", "--neighbours=3", "--image_text=2"],
            "error: --image_text requires --consensus_embedding",
        ),
        (
            ["build_captions", "--captions=a", "--output=b", "--backbone=c", "--noview_mirror"],
            "error: --view_mirror requires --views",
        ),
        (
            ["build_images", "--corpora=a", "--detections=b", "--output=c", "--store_grid"],
            "error: --store_grid reads the image files: give their folder, --images=FOLDER",
        ),
        (
            ["build_images", "--corpora=a", "--detections=b", "--output=c", "--norecursive"],
            "error: --recursive reads the image files: give their folder, --images=FOLDER",
        ),
        (
            ["build_images", "--corpora=a", "--detections=b", "--output=c", "--store_pixels"],
            "error: --store_pixels reads the image files: give their folder, --images=FOLDER",
        ),
        (
            ["caption", "--run=a", "--run=b", "--images=c", "--output=d", "--ensemble_weights=1,0"],
            r"error: --ensemble_weights=1,0: '0' must be above 0",
        ),
    ],
)
def test_combinations_are_refused(script: list[str], message: str, tmp_path: Path) -> None:
    done = run_forked([sys.executable, "-m", f"r2m.cli.{script[0]}", *script[1:]], cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr), done.stderr
