"""Run folders of earlier versions: they open, give the same captions, and resume.

`tests/data/runs/make.py` created them; `expected.json` contains the results of that version.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import r2m
from pipelines import captions
from r2m.engine.persistence import checkpoints
from r2m.engine.persistence.variable_names import variable_names
from r2m.inference.run import Run
from r2m.tasks.captioning.experiment import run_captioner
from r2m.tasks.unsupervised_captioning.experiment import run_stage
from tests.data.runs.make import config_of

DATA = Path(__file__).parents[1] / "data" / "runs"
RUNS: dict[str, dict[str, Any]] = json.loads((DATA / "settings.json").read_text())
EXPECTED = json.loads((DATA / "expected.json").read_text())


def test_every_archive_is_tested() -> None:
    experiments = {name.split("/")[0] for name in RUNS}
    assert {path.name.split(".")[0] for path in DATA.glob("*.tar.xz")} == {*experiments, "records"}
    assert EXPECTED.keys() == {name for name, run in RUNS.items() if run["records"] is not None}


@pytest.mark.parametrize("name", EXPECTED)
def test_old_runs_caption_as_they_did(
    old_runs: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old_runs)
    run = Run.load(Path("runs", name))
    saved = checkpoints.require_best_or_latest(run.folders[0].path).sidecar["variables"]
    assert variable_names(run.model) == [path for path, _, _ in saved]
    captioning, expected = run.captioning.returning(3), EXPECTED[name]
    for batch in run.record_batches(run.open_records(RUNS[name]["records"]), "val"):
        names = [image.decode() for image in batch.pop("image_id").numpy()]
        assert names == list(expected)
        for image, found in zip(names, captioning.hypotheses(batch), strict=True):
            assert [one.caption for one in found] == [caption for caption, _ in expected[image]]
            assert [one.log_probability for one in found] == pytest.approx(
                [log_probability for _, log_probability in expected[image]], abs=1e-4
            )


@pytest.mark.parametrize("name", ["att2in2/cross_entropy", "pixels/cross_entropy"])
def test_old_runs_caption_pictures_through_the_python_interface(
    old_runs: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old_runs)
    examples = captions.examples(captions.open_captions("records/captions"), "val")
    pictures = {example["image_id"]: example["image"] for example in examples}
    captioner = r2m.load(Path("runs", name))
    for image, found in zip(pictures, captioner.caption(pictures.values()), strict=True):
        [caption, log_probability], *others = EXPECTED[name][image]
        assert (found.text, [one.text for one in found.alternatives]) == (
            caption,
            [other for other, _ in others],
        )
        assert found.log_probability == pytest.approx(log_probability, abs=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_old_runs_resume(
    old_runs: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(old_runs, tmp_path / "copy"))
    experiment, stage = name.split("/")
    step = checkpoints.newest(Path("runs", name, checkpoints.LATEST)).step
    # One captioner and R2M train one more step; the other runs are already complete.
    steps = step + 1 if name in ("fc/cross_entropy", "r2m/xe") else step
    config = config_of(RUNS[name], **{f"stages.{stage}.steps": steps})
    workdir = Path("runs", experiment)
    if RUNS[name]["config"].startswith("configs.r2m"):
        summary = run_stage(stage, config, workdir)
    else:
        summary = run_captioner(config, workdir, name=stage)
    assert summary.step == steps > 1
