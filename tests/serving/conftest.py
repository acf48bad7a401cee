"""Fixtures of exported models."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import captions
from r2m.serving.export import Exported, export_run


@pytest.fixture(scope="session")
def image_files(old_runs: Path) -> list[bytes]:
    records = captions.open_captions(str(old_runs / "records/captions"))
    return [example["image"] for example in captions.examples(records, "val")]


@pytest.fixture(scope="session")
def exported(
    old_runs: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Exported]:
    """Returns a function that exports a small run at its first call.

    Runs are `vse`, or one of an earlier version, which is exported with three captions.
    """
    folder = tmp_path_factory.mktemp("exports")

    @functools.cache
    def export(name: str) -> Exported:
        if name == "vse":
            return export_run(request.getfixturevalue("embedding_run"), folder / name)
        stage = "tri" if name == "r2m" else "cross_entropy"
        return export_run(old_runs / "runs" / name / stage, folder / name, captions=3)

    return export
