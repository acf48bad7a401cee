"""Loading of a run, which reads each of its files once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from r2m.engine.persistence import damage
from r2m.inference.evaluate_run import evaluate_run
from r2m.inference.run import Run
from r2m.inference.run_folder import RunFolder
from r2m.inference.run_kinds import RUN_KINDS, kind_of
from tfrecords.core.errors import InputError


@pytest.mark.parametrize("members", [1, 2])
def test_files_of_a_run_are_read_and_verified_once(
    members: int,
    att2in2_run: Path,
    caption_records: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: Counter[str] = Counter()
    hashed: Counter[str] = Counter()
    read_text, digest = Path.read_text, damage.digest

    def noting_read(path: Path, *arguments: Any, **options: Any) -> str:
        read[path.name] += path.is_relative_to(att2in2_run)
        return read_text(path, *arguments, **options)

    def noting_digest(path: Path) -> dict[str, Any]:
        hashed[path.name] += 1
        return digest(path)

    monkeypatch.setattr(Path, "read_text", noting_read)
    monkeypatch.setattr(damage, "digest", noting_digest)
    run = Run.load([att2in2_run] * members)
    run.image_reader()
    expected = {"config.json": 1, "image_features.json": 1, "checkpoint.json": 1}
    assert {name: count / members for name, count in read.items() if name in expected} == expected
    assert set(hashed.values()) == {members}
    evaluate_run(att2in2_run, caption_records, "val", tmp_path, metrics=("bleu",))
    assert read["config.json"] == members + 1 and set(hashed.values()) == {members + 1}


def test_the_kind_of_a_run_is_that_of_its_stage(tmp_path: Path) -> None:
    stages = [stage for kind in RUN_KINDS for stage in kind.stages]
    assert len(set(stages)) == len(stages) > 5
    (tmp_path / "config.json").write_text('{"stage": "sculpture", "config": {}}')
    with pytest.raises(InputError, match=r"unknown stage 'sculpture'.*captioning: cross_entropy"):
        kind_of(RunFolder(tmp_path))
