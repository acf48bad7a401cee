"""What a run shows: parameter table, progress, HParams, histograms, profile, list of runs."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from engine_toys import LanguageStage, options, run
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.hparams import flatten
from r2m.engine.monitoring.parameters import parameter_table
from r2m.engine.monitoring.profiling import ProfileWindow
from r2m.engine.monitoring.progress import Progress
from r2m.engine.monitoring.run_log import RunLog
from r2m.engine.monitoring.runs import compare_configs, find_runs, read_run
from r2m.engine.persistence import files
from r2m.engine.stage import Evaluation
from r2m.engine.train import train

ONE = make_strategy("one_device")
SHORT = {"steps": 8, "log_every": 4, "evaluate_every": 4, "checkpoint_every": 4}


def summaries(workdir: Path) -> list[tuple[int, Any]]:
    return [
        (event.step, value)
        for path in sorted(workdir.glob("events.out.tfevents.*"))
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for event in [tf.compat.v1.Event.FromString(record)]
        for value in event.summary.value
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("workspace") / "runs" / "toys" / "toy"
    config = {"name": "toys", "model": {"units": 8, "sizes": [1, 2], "rate": None}}
    train(LanguageStage(), options(**SHORT), workdir, strategy=ONE, config=config)
    return workdir


class TestParameterTable:
    def model(self) -> keras.Model:
        model = LanguageStage(unused=True).model
        model.extra.trainable = False
        return model

    def test_every_variable(self) -> None:
        model = self.model()
        lines = [x.split() for x in parameter_table(model, model.trainable_variables).splitlines()]
        assert lines[:2] == [
            ["variable", "shape", "parameters", "trained"],
            ["embedding/embeddings", "11", "x", "8", "88", "yes"],
        ]
        assert ["dense_2/kernel", "8", "x", "3", "24", "no"] in lines
        assert not any("seed" in line[0] for line in lines)
        everything = 11 * 8 + (8 * 8 + 8) + (8 * 11 + 11) + (8 * 3 + 3)
        assert lines[-2:] == [["all", str(everything)], ["trained", str(everything - 27)]]

    def test_parts_of_a_large_model(self) -> None:
        model = self.model()
        trained = [v for v in model.trainable_variables if "bias" not in v.path]
        lines = [x.split() for x in parameter_table(model, trained, most_rows=3).splitlines()]
        assert ["embedding", "1", "variable", "88", "yes"] in lines
        assert ["dense", "2", "variables", "72", "in", "part"] in lines
        assert ["dense_2", "2", "variables", "27", "no"] in lines

    def test_a_run_begins_with_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lines: list[str] = []
        monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
        train(LanguageStage(), options(**SHORT), tmp_path, strategy=ONE)
        assert sum("embedding/embeddings" in line for line in lines) == 1


class TestProgress:
    def report(self, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> str:
        lines: list[str] = []
        monkeypatch.setattr(logging, "info", lambda text, *args: lines.append(text % args))
        screen = io.StringIO()
        screen.isatty = lambda: terminal  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stderr", screen)
        progress = Progress("toy", "sentences", 10, 40, show=True)
        progress.advance(2, 999.0, 100.0, compiled=True)
        progress.advance(4, 64.0, 0.5, compiled=False)
        progress.advance(2, 999.0, 20.0, compiled=True)  # another shape of batch
        progress.advance(2, 36.0, 0.5, compiled=False)
        progress.report({"loss": 0.25})
        progress.close()
        return screen.getvalue() if terminal else lines[-1]

    def test_log_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        speed = "6.00 steps/s  100 sentences/s  0:00:03 left  compiling 120.0 s"
        assert self.report(monkeypatch, False) == f"toy: step 20/40  loss 0.25  {speed}"

    def test_bar(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown = self.report(monkeypatch, True)
        assert "loss 0.25  100 sentences/s  compiling 120.0 s" in shown


class TestTensorBoard:
    def test_hparams(self, finished: Path) -> None:
        found = [(s, v) for s, v in summaries(finished) if v.tag.startswith("_hparams_")]
        ((step, value),) = found
        assert step == 0
        content = value.metadata.plugin_data.content
        start = HParamsPluginData.FromString(content).session_start_info
        hparams = {
            name: getattr(entry, entry.WhichOneof("kind")) for name, entry in start.hparams.items()
        }
        assert hparams["model.units"] == 8
        assert hparams["model.sizes"] == "[1, 2]"
        assert hparams["model.rate"] == "none"
        assert hparams["stage"] == "toy"
        assert hparams["options.learning_rate"] == 0.01

    def test_scalars_of_the_best(self, tmp_path: Path) -> None:
        stage = LanguageStage(score={4: 0.9, 8: 0.5}.__getitem__)
        train(stage, options(**SHORT), tmp_path, strategy=ONE)
        found = [(s, v) for s, v in summaries(tmp_path) if v.tag == "best/cider"]
        assert [(s, float(tf.make_ndarray(v.tensor))) for s, v in found] == [
            (4, pytest.approx(0.9))
        ]

    def test_what_a_run_killed_before_its_first_checkpoint_left_is_written_anew(
        self, tmp_path: Path
    ) -> None:
        for _ in range(2):
            with RunLog(tmp_path, 0, {"units": 8}) as log:
                log.evaluation(0, Evaluation(metrics={"cider": 1.0}))
        tags = [value.tag for _, value in summaries(tmp_path)]
        assert tags == ["_hparams_/session_start_info", "evaluation/cider"]
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1

    def test_histograms(self, tmp_path: Path) -> None:
        values = np.array([0.0, 0.1, 0.1, 1.0])
        with RunLog(tmp_path, 0) as log:
            log.evaluation(5, Evaluation(metrics={}, histograms={"gate": values}))
        ((step, value),) = summaries(tmp_path)
        assert (step, value.tag) == (5, "evaluation/gate")
        buckets = tf.make_ndarray(value.tensor)  # [left, right, count]
        assert buckets[:, 2].sum() == 4
        assert (buckets[0, 0], buckets[-1, 1]) == (0.0, 1.0)
        assert buckets[-1, 2] == 1


class TestProfile:
    @pytest.mark.parametrize("text", ["100", "a:b", "10:5", "5:5", "-1:5", "1:2:3", ""])
    def test_bad_windows(self, text: str) -> None:
        with pytest.raises(TrainingError, match=f"profile_steps='{text}': expected FIRST:LAST"):
            ProfileWindow.parse(text)

    def test_a_window_within_a_run(
        self, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        stop = tf.profiler.experimental.stop
        monkeypatch.setattr(
            tf.profiler.experimental, "stop", lambda save=True: (calls.append("stop"), stop(save))
        )
        stage = LanguageStage()
        evaluate = stage.evaluate
        stage.evaluate = lambda step: (calls.append(f"{step}"), evaluate(step))[1]  # type: ignore[method-assign]
        window = ProfileWindow.parse("3:8")
        train(stage, options(**SHORT), tmp_path, strategy=ONE, profile=window)
        assert list((tmp_path / "plugins" / "profile").rglob("*.xplane.pb"))
        assert calls == ["4", "stop", "8"]
        name = "metrics.jsonl"
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()

    def test_a_window_that_never_comes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warnings: list[str] = []
        monkeypatch.setattr(logging, "warning", lambda text, *args: warnings.append(text % args))
        window = ProfileWindow.parse("100:110")
        train(LanguageStage(), options(**SHORT), tmp_path, strategy=ONE, profile=window)
        assert "nothing is profiled: steps 101 to 110" in warnings[0]
        assert not (tmp_path / "plugins").exists()


class TestRuns:
    @pytest.fixture
    def workspace(self, finished: Path, tmp_path: Path) -> Path:
        shutil.copytree(finished.parents[2], tmp_path / "workspace")
        return tmp_path / "workspace"

    def test_finished(self, workspace: Path) -> None:
        (workspace / "records").mkdir()
        (workspace / "records" / "config.json").write_text('{"of": "something else"}')
        (found,) = find_runs(workspace)
        assert found.folder == workspace / "runs" / "toys" / "toy"
        assert (found.experiment, found.stage, found.state) == ("toys", "toy", "finished")
        assert (found.step, found.steps) == (8, 8)
        assert (found.best_metric, found.best_value, found.best_step) == ("cider", 8.0, 8)
        newest = max(path.stat().st_mtime for path in found.folder.rglob("*"))
        assert found.changed.timestamp() == pytest.approx(newest, abs=2)

    def test_running_is_not_disturbed(self, workspace: Path) -> None:
        folder = workspace / "runs" / "toys" / "toy"
        with files.locked(folder):
            assert read_run(folder).state == "running"
            assert read_run(folder).state == "running"  # the first look took nothing away
        with files.locked(folder):  # nor does a look keep anything
            pass
        assert read_run(folder).state == "finished"

    def test_stopped_and_damaged(self, workspace: Path) -> None:
        folder = workspace / "runs" / "toys" / "toy"
        last = sorted((folder / "checkpoints").iterdir())[-1]
        (last / "variables.index").write_bytes(b"")
        found = read_run(folder)
        assert (found.state, found.step) == ("stopped", 4)
        for checkpoint in (folder / "checkpoints").iterdir():
            (checkpoint / "checkpoint.json").write_text("{")
        assert read_run(folder).state == "damaged"

    def test_damaged_config(self, workspace: Path) -> None:
        (workspace / "runs" / "toys" / "toy" / "config.json").write_text("{")
        (found,) = find_runs(workspace)
        assert (found.state, found.experiment, found.stage) == ("damaged", "toys", "toy")

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"no run in .* expected folders with config\.json"):
            find_runs(tmp_path)
        with pytest.raises(TrainingError, match="no such folder"):
            find_runs(tmp_path / "nowhere")

    def test_comparison(self, finished: Path, tmp_path: Path) -> None:
        config = json.loads((finished / "config.json").read_text())
        config["config"]["model"] = {"units": 16, "sizes": [1, 2], "rate": None, "new": True}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert compare_configs([finished, tmp_path]) == {
            "config.model.units": [8, 16],
            "config.model.new": [None, True],
        }
        assert compare_configs([finished, finished]) == {}
        with pytest.raises(TrainingError, match="two or more"):
            compare_configs([finished])
        with pytest.raises(TrainingError, match="not the folder of a run"):
            compare_configs([finished, finished.parent])


def test_flatten() -> None:
    nested = {"a": {"b": {"c": 1.5}, "d": True}, "e": None, "f": [1, "x"], "g": {}}
    assert flatten(nested) == {"a.b.c": 1.5, "a.d": True, "e": "none", "f": '[1, "x"]'}


def test_rows_of_a_global_batch_are_counted_over_replicas(
    mirrored: tf.distribute.Strategy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[float] = []
    monkeypatch.setattr(Progress, "advance", lambda self, _, rows, *__, **___: counted.append(rows))
    run(mirrored, tmp_path)
    assert sum(counted) == 24 // 4 * (4 + 3 + 1 + 5)
