"""Reports of a run: parameter table, HParams, histograms, profile, list of runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from engine_toys import LanguageStage, options
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.hparams import flatten, run_settings
from r2m.engine.monitoring.parameters import parameter_table
from r2m.engine.monitoring.profiling import ProfileWindow
from r2m.engine.monitoring.run_list import compare_configs, find_runs, read_run
from r2m.engine.monitoring.run_log import RunLog
from r2m.engine.persistence import durable_files
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
        lines.clear()
        train(LanguageStage(), options(**{**SHORT, "steps": 12}), tmp_path, strategy=ONE)
        assert any("resuming from" in line for line in lines)
        assert not any("embedding/embeddings" in line for line in lines)


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
        assert start.group_name == f"toys/toy in {finished.parent.parent}"

    def test_runs_are_compared_by_what_differs(self, tmp_path: Path) -> None:
        own = {"learning_rate": 9.0, "batch_size": 2}
        config = {
            "name": "toys",
            "seed": 3,
            "stages": {"toy": own, "later": own},
            "training": {"optimizer": "sgd", "precision": "float32", "log_every": 5},
        }
        for name, rate in (("slow", 0.01), ("fast", 0.1)):
            chosen = options(**SHORT | {"learning_rate": rate, "log_every": int(rate * 100)})
            folder = tmp_path / name / "toy"
            folder.mkdir(parents=True)
            with RunLog(folder, 0, run_settings("toy", config, chosen)) as log:
                log.train(4, {"loss": 2.0})
                log.evaluation(4, Evaluation(metrics={"cider": rate}))
                log.best(4, {"cider": rate})
        loaded = plugin_event_multiplexer.EventMultiplexer()
        loaded.AddRunsFromDirectory(str(tmp_path))
        loaded.Reload()
        provider = data_provider.MultiplexerDataProvider(loaded, str(tmp_path))
        found = backend_context.Context(base_plugin.TBContext(data_provider=provider))
        request = api_pb2.GetExperimentRequest()
        experiment = get_experiment.Handler(RequestContext(), found, "", request).run()
        settings = [info.name for info in experiment.hparam_infos]
        assert [info.name for info in experiment.hparam_infos if info.differs] == settings[:1]
        assert settings[0] == "options.learning_rate"
        kept = ("stage", "name", "seed", "stages.toy.batch_size", "training.precision")
        assert set(kept) < set(settings)
        hidden = ("log_every", "later", "show_progress", "stages.toy.learning_rate", "options.seed")
        assert not any(name.endswith(hidden) for name in settings)
        assert "training.optimizer" not in settings
        assert experiment.metric_infos[0].name.tag == "best/cider"
        rows = list_session_groups.Handler(
            RequestContext(), found, "",
            api_pb2.ListSessionGroupsRequest(
                slice_size=9, allowed_statuses=api_pb2.Status.values()
            ),
        ).run()  # fmt: skip
        assert sorted(row.name for row in rows.session_groups) == [
            f"fast/toy in {tmp_path}", f"slow/toy in {tmp_path}"
        ]  # fmt: skip

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
        with durable_files.lock_folder(folder):
            assert read_run(folder).state == "running"
            assert read_run(folder).state == "running"  # reading does not release the lock
        with durable_files.lock_folder(folder):  # and does not hold it
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
        assert compare_configs([finished, tmp_path], lambda _: {"name": "same"}) == {}
        with pytest.raises(TrainingError, match="at least two"):
            compare_configs([finished])
        with pytest.raises(TrainingError, match="not the folder of a run"):
            compare_configs([finished, finished.parent])


def test_flatten() -> None:
    nested = {"a": {"b": {"c": 1.5}, "d": True}, "e": None, "f": [1, "x"], "g": {}}
    assert flatten(nested) == {"a.b.c": 1.5, "a.d": True, "e": "none", "f": '[1, "x"]'}
