"""Messages about files of a run that are missing, damaged or not writable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.history import check_history
from r2m.engine.monitoring.metrics_file import METRICS, read_metrics
from r2m.engine.monitoring.run_log import RunLog

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Files of a run with a checkpoint every 10 steps, and metrics of 40 steps."""
    folder = tmp_path / "run"
    for name in ("checkpoints/step-00000040", "best/step-00000030"):
        (folder / name).mkdir(parents=True)
    config = {"stage": "toy", "config": {}, "training": {"checkpoint_every": 10, "steps": 40}}
    (folder / "config.json").write_text(json.dumps(config))
    lines = [json.dumps({"step": step, "kind": "train"}) for step in (10, 20, 30, 40)]
    (folder / METRICS).write_text("\n".join([*lines, ""]))
    return folder


def check(run: Path, step: int, best_step: int | None = None) -> None:
    check_history(run, step, best_step=best_step, log_every=10)


def test_a_whole_run_has_nothing_to_say(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check(run, 40, 30)
    check(tmp_path / "new", 0)
    assert not caplog.records


@pytest.mark.parametrize("gone", ["best", METRICS])
def test_a_run_without_its_checkpoints_does_not_begin_anew(run: Path, gone: str) -> None:
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / gone) if gone == "best" else (run / gone).write_text("")
    with pytest.raises(
        TrainingError, match=r"checkpoints contains no .* at least (30|40) steps\. .*--workdir"
    ):
        check(run, 0)


@pytest.mark.parametrize("steps", [10, 20])
def test_a_short_run_whose_checkpoints_were_emptied_does_not_begin_anew(
    run: Path, steps: int
) -> None:
    for folder in (run / "best", run / "checkpoints"):
        shutil.rmtree(folder)
    (run / "checkpoints").mkdir()
    (run / METRICS).write_text(f'{{"step": {steps}, "kind": "train"}}\n')
    with pytest.raises(TrainingError, match=f"this run has done at least {steps} steps"):
        check(run, 0)


def test_a_run_whose_first_checkpoint_failed_begins_anew(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in (run / "best", run / "checkpoints"):
        shutil.rmtree(folder)
    (run / METRICS).write_text('{"step": 20, "kind": "train"}\n')
    (run / "checkpoints/.unfinished-step-00000010").mkdir(parents=True)
    check(run, 0)
    assert "20 steps were logged but no checkpoint" in caplog.text


def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("checkpoints", "best"):
        shutil.rmtree(run / name)
    (run / METRICS).write_text('{"step": 10, "kind": "train"}\n')
    check(run, 0)
    assert "10 steps were logged but no checkpoint" in caplog.text


@pytest.mark.parametrize(
    ("gone", "message"),
    [("best", "although step 30 was the best"), (METRICS, "although 40 steps are done")],
)
def test_what_a_run_lost_is_said(
    run: Path, gone: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(run / gone) if gone == "best" else (run / gone).write_text("")
    check(run, 40, 30)
    assert message in caplog.text and str(run / gone) in caplog.text


@pytest.mark.parametrize("garbage", [b"garbage", b"[1]", b'{"kind": "train"}', b"\xff\x00", b""])
def test_a_damaged_line_is_named_and_nothing_is_removed(run: Path, garbage: bytes) -> None:
    lines = (run / METRICS).read_bytes().split(b"\n")
    before = b"\n".join([lines[0], garbage, *lines[2:]])
    (run / METRICS).write_bytes(before)
    with pytest.raises(TrainingError, match=rf"{METRICS}:2: expected .* found .*; .*remove it"):
        RunLog(run, 40)
    assert (run / METRICS).read_bytes() == before


def test_a_torn_last_line_is_left_out(run: Path) -> None:
    with (run / METRICS).open("a") as file:
        file.write('{"step": 5')
    assert [line["step"] for line in read_metrics(run)] == [10, 20, 30, 40]


def test_a_full_disk_is_an_error_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = f"cannot write {tmp_path}.*: .*; make room or give access, then start the same"
    (tmp_path / METRICS).symlink_to("/dev/full")
    with (
        pytest.raises(TrainingError, match=message.replace(".*: .*", ".*: No space left .*")),
        RunLog(tmp_path, 0) as log,
    ):
        log.train(1, {"loss": 1.0})
    (tmp_path / METRICS).unlink()

    def fail() -> None:
        text = "{{function_node __wrapped__Flush_device_/job:a}} Could not flush events file."
        raise tf.errors.UnknownError(None, None, f"{text} [Op:FlushSummaryWriter] name: ")

    with pytest.raises(TrainingError, match=": Could not flush events file") as caught:  # noqa: SIM117
        with RunLog(tmp_path, 0) as log:
            monkeypatch.setattr(log._events, "flush", fail)
            monkeypatch.setattr(log._events, "close", fail)
            log.flush()
    assert "{{" not in str(caught.value) and "[Op" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(TrainingError, match="cannot write"):
        RunLog(tmp_path, 0)


def test_runs_are_listed_without_tensorflow(run: Path) -> None:
    program = (
        "import sys; from r2m.cli import runs; "
        "from r2m.engine.monitoring.run_list import find_runs; "
        "assert find_runs(sys.argv[1]); assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(run.parent)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=True,
    )  # fmt: skip
