"""Hints for errors about paths that do not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfrecords.core.missing_paths import describe_missing


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("raw/shape/images", "; did you mean raw/shapes/images?"),
        ("raw/shape/pictures", "; did you mean raw/shapes?"),
        ("raw/coco/images", "; there is no coco in raw"),
        ("elsewhere", "; the current folder is {here}"),
        ("{here}/elsewhere", "; there is no elsewhere in {here}"),
    ],
)
def test_the_path_that_may_be_meant_is_named(
    path: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raw" / "shapes" / "images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert describe_missing(Path(path.format(here=tmp_path))) == hint.format(here=tmp_path)
