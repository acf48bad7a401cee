"""Builds as Apache Beam pipelines: the same records, in several worker processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tfrecords.builders.corpora.build import CorporaOptions, build_corpora
from tfrecords.builders.images.build import ImagesOptions, build_images
from tfrecords.core.beam import Beam
from tfrecords.core.errors import InputError
from tfrecords.core.examples import read_frames
from tfrecords.core.records import Records
from tfrecords.core.runners import Local, Runner, run_jobs
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.formats.text.sources import TextSource
from tfrecords.shapes.dataset import ShapesOptions, make_shapes

pytest.importorskip("apache_beam", reason="the extra [beam] is not installed")

TWO_WORKERS = Beam(
    "DirectRunner", ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
)

# Each pass of a build would start its processes anew, and each of these load TensorFlow.
TWO_THREADS = Beam(
    "DirectRunner", ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
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


def everything_in(records: Records) -> set[tuple[str, bytes]]:
    found = set()
    for split in records.splits:
        for path in records.shards(split):
            with Path(path).open("rb") as stream:
                found |= {(split, record) for record in read_frames(stream, path)}
    return found


def test_builders_make_the_same_records(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    make_shapes(raw, ShapesOptions(train_images=12, val_images=4, test_images=4, sentences=300))

    def build(folder: Path, runner: Runner) -> list[Records]:
        corpora = build_corpora(
            CorporaOptions(
                folder=folder / "corpora",
                name="shapes",
                sources=[TextSource(raw / "corpus.txt")],
                label_maps=[raw / "detections.json", raw / "tags.json"],
                min_count=1,
                shards=2,
                runner=runner,
            ),
            progress=False,
        )
        images = build_images(
            ImagesOptions(
                folder=folder / "images",
                images=raw / "images",
                detections=(DetectionSource(path=raw / "detections.json"),),
                corpora=corpora.folder,
                splits={split: raw / f"{split}.txt" for split in ("train", "val")},
                shards=2,
                runner=runner,
            ),
            progress=False,
        )
        return [corpora, images]

    for here, there in zip(
        build(tmp_path / "here", Local()), build(tmp_path / "there", TWO_THREADS), strict=True
    ):
        assert len(everything_in(here)) >= 16
        assert everything_in(here) == everything_in(there)
        assert here.digest == there.digest


def test_the_error_of_a_job_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'notes': .*-1 is below 0.* resumes after"):
        run_jobs(Note(tmp_path), [-1], runner=Beam(), description="notes")


def test_unknown_runner(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NoRunner"):
        run_jobs(Note(tmp_path), [1], runner=Beam("NoRunner"), description="notes")
