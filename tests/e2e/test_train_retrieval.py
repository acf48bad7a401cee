"""The command that trains a visual-semantic embedding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from forked_processes import run_forked


def train(records: Path, workdir: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "r2m.cli.train_retrieval", f"--captions={records}"]
    return run_forked([*command, f"--workdir={workdir}", *flags])


def test_it_trains_prints_recalls_and_resumes(caption_records: Path, tmp_path: Path) -> None:
    first = train(caption_records, tmp_path, "--config=vse++:test")
    assert first.returncode == 0, first.stderr
    assert "captions by images" in first.stdout and "4 steps, best at" in first.stdout
    again = train(caption_records, tmp_path, "--config=vse++:test")
    assert again.returncode == 0 and "all 4 steps are done already" in again.stderr
    assert again.stdout == first.stdout


def test_a_configuration_of_captioners_is_refused_with_the_command_for_it(
    caption_records: Path, tmp_path: Path
) -> None:
    wrong = train(caption_records, tmp_path, "--config=updown:test")
    assert wrong.returncode != 0 and "r2m-train-captioner" in wrong.stderr
    margin = train(caption_records, tmp_path, "--config=vse++:test", "--config.loss.margin=3.0")
    assert "--config.loss.margin=3.0: must be above 0 and below 2" in margin.stderr
