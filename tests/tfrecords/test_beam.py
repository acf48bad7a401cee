"""Builds as Apache Beam pipelines: the same records, in several worker processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tfrecords.errors import InputError
from tfrecords.runners import Beam, run_jobs

pytest.importorskip("apache_beam", reason="the extra [beam] is not installed")

TWO_WORKERS = Beam(
    "DirectRunner", ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
)


@dataclass(frozen=True)
class Note:
    """A job that leaves the id of the process that did it."""

    folder: Path

    def __call__(self, number: int) -> int:
        path = self.folder / str(number)
        if not path.exists():
            if number < 0:
                raise InputError(f"{number} is below 0")
            path.write_text(str(os.getpid()))
        return int(path.read_text())


def test_jobs_run_in_workers_and_are_found_here(tmp_path: Path) -> None:
    found = run_jobs(Note(tmp_path), range(8), runner=TWO_WORKERS, description="notes")
    assert [int((tmp_path / str(n)).read_text()) for n in range(8)] == found
    assert os.getpid() not in found


def test_the_error_of_a_job_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'notes': .*-1 is below 0.* goes on from"):
        run_jobs(Note(tmp_path), [-1], runner=Beam(), description="notes")


def test_unknown_runner(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NoRunner"):
        run_jobs(Note(tmp_path), [1], runner=Beam("NoRunner"), description="notes")
