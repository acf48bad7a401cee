"""Flags of the training scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from r2m.cli.curriculum_training import curriculum_main
from r2m.cli.launch import exit_code
from r2m.cli.training import checked_config, print_next

CONFIG = Path(__file__).parents[2] / "configs" / "r2m" / "shapes.py"


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (
            "tpu",
            "strategy 'tpu' is not supported: the TensorFlow wheels this project is tested with",
        ),
        ("mirrorred", "unknown strategy 'mirrorred'; known: auto, one_device, mirrored"),
    ],
)
def test_a_strategy_that_cannot_be_had_says_why(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    message: str,
) -> None:
    arguments = ["train", f"--config={CONFIG}:test", f"--workdir={tmp_path}"]
    arguments.append(f"--config.training.strategy={strategy}")
    monkeypatch.setattr("sys.argv", arguments)  # overrides are read from there
    with flagsaver.flagsaver():
        flags.FLAGS(arguments)
        assert exit_code(curriculum_main, []) == 1
    assert f"error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("scored", [True, False])
def test_a_training_ends_with_its_run_its_best_score_and_the_next_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scored: bool
) -> None:
    folder = tmp_path / "my runs" / "xe"
    (folder / "best" / "step-00000004").mkdir(parents=True)
    config = {"stage": "xe", "config": {}, "training": {"steps": 4, "best_metric": "cider"}}
    (folder / "config.json").write_text(json.dumps(config))
    state = {"step": 4, "best_step": 4, "best_metrics": {"cider": 0.123456}}
    sidecar = {"files": {}, "state": state if scored else {}}
    (folder / "best" / "step-00000004" / "checkpoint.json").write_text(json.dumps(sidecar))
    print_next(folder, "records/images", detections=scored, next_stage="r2m-train-xe-rec")
    best = "best cider 0.1235 at step 4" if scored else (
        "no validation score selects a best checkpoint: the latest one is used"
    )  # fmt: skip
    run = f"'--run={folder}'"
    asked = "--detections=FILE " if scored else ""
    assert capsys.readouterr().out.splitlines() == [
        "",
        f"run:      {folder} ({best})",
        f"evaluate: r2m-evaluate {run} --records={'records/images' if scored else 'FOLDER'}",
        f"caption:  r2m-caption {run} --images=FOLDER {asked}--output=FOLDER",
        "next:     r2m-train-xe-rec, with the same flags",
    ]


def test_former_flags_set_their_fields_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with flagsaver.flagsaver():
        flags.FLAGS(["train", f"--config={CONFIG}:test", "--workdir=x", "--jit", "--strategy=auto"])
        with caplog.at_level("WARNING"):
            training = checked_config("xe", {}).training
    assert (training.jit, training.strategy, training.precision) == (True, "auto", "float32")
    assert [record.getMessage().partition("use ")[2] for record in caplog.records] == [
        "--config.training.strategy=auto", "--config.training.jit=True"
    ]  # fmt: skip
