from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_toys
import numpy as np
import pytest
import tensorflow as tf
from engine_toys import LanguageStage, options, run
from forked_processes import run_forked

from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.errors import TrainingError, TrainingInterrupted
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.engine.persistence import checkpoints, durable_files
from r2m.engine.signals import deferred_signals
from r2m.engine.stage import LossTerm
from r2m.engine.train import train

ONE = make_strategy("one_device")
SHORT = {"steps": 8, "log_every": 4, "evaluate_every": 4, "checkpoint_every": 4}


def tensors(workdir: Path, folder: str = "checkpoints") -> dict[str, np.ndarray]:
    checkpoint = checkpoints.newest(workdir / folder)
    assert checkpoint is not None
    reader = tf.train.load_checkpoint(str(checkpoint.folder / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def events(workdir: Path) -> list[tuple[int, str]]:
    found = []
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            found += [(event.step, value.tag) for value in event.summary.value]
    # File names contain the second and the process, so their order within a second is arbitrary.
    return sorted(found, key=lambda event: event[0])


def assert_same_run(a: Path, b: Path) -> None:
    for folder in ("checkpoints", "best"):
        left, right = tensors(a, folder), tensors(b, folder)
        assert left.keys() == right.keys()
        assert any("seed_generator_state" in name for name in left)
        for name, value in left.items():
            np.testing.assert_array_equal(value, right[name], err_msg=name)
        names = [sorted(path.name for path in (run / folder).iterdir()) for run in (a, b)]
        assert names[0] == names[1]
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
    assert events(a) == events(b)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("reference")
    run(ONE, workdir)
    return workdir


def start_and_die(strategy: str, workdir: Path, moment: str) -> None:
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = run_forked(
        [sys.executable, engine_toys.__file__, strategy, str(workdir), "language", moment],
        env={**os.environ, "PYTHONPATH": path},
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


class TestResume:
    def test_killed_again_and_again(self, reference: Path, tmp_path: Path) -> None:
        # Checkpoints are written in the background, so the saved state at the kill may vary.
        for moment in ("save:9", "step:11", "evaluation:2", "save:27"):
            start_and_die("one_device", tmp_path, moment)
        run(ONE, tmp_path)
        assert_same_run(reference, tmp_path)

    def test_killed_with_two_replicas(
        self, mirrored: tf.distribute.Strategy, tmp_path: Path
    ) -> None:
        run(mirrored, tmp_path / "reference")
        start_and_die("mirrored", tmp_path / "run", "save:37")
        run(mirrored, tmp_path / "run")
        assert_same_run(tmp_path / "reference", tmp_path / "run")

    def test_the_seeds_matter(
        self, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The comparison of runs detects seed states that are not restored."""
        stop_after(tmp_path, 6)
        assign = checkpoints._assign

        def without_seeds(checkpoint: Any, variables: Any) -> None:
            kept = {k: v for k, v in variables.items() if "seed_generator_state" not in k}
            assign(checkpoint, kept)

        monkeypatch.setattr(checkpoints, "_assign", without_seeds)
        run(ONE, tmp_path)
        a, b = tensors(reference), tensors(tmp_path)
        assert not np.array_equal(a["model/embedding/embeddings"], b["model/embedding/embeddings"])

    def test_stopped_by_a_signal_between_log_lines(self, reference: Path, tmp_path: Path) -> None:
        stop_after(tmp_path, 7)
        stop_after(tmp_path, 17, signal.SIGINT)
        run(ONE, tmp_path)
        assert_same_run(reference, tmp_path)

    def test_metrics_do_not_depend_on_evaluation_or_grouping(
        self, reference: Path, tmp_path: Path
    ) -> None:
        changed = options(evaluate_every=0, steps_per_loop=3, checkpoint_every=0)
        train(LanguageStage(), changed, tmp_path, strategy=ONE)
        a, b = (
            [line for line in read_metrics(path) if line["kind"] == "train"]
            for path in (reference, tmp_path)
        )
        assert a == b

    def test_damaged_latest_checkpoint(self, reference: Path, tmp_path: Path) -> None:
        shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
        newest = checkpoints.newest(tmp_path / "checkpoints")
        assert newest is not None
        (newest.folder / "variables.index").write_bytes(b"")
        run(ONE, tmp_path)
        assert_same_run(reference, tmp_path)

    def test_longer(self, reference: Path, tmp_path: Path) -> None:
        shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
        summary = train(LanguageStage(), options(steps=30), tmp_path, strategy=ONE)
        assert summary.step == 30
        assert [line["step"] for line in read_metrics(tmp_path)][-2:] == [30, 30]


def stop_after(workdir: Path, step: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Trains until a signal arrives in the middle of the loop that passes `step`."""
    stage = LanguageStage()
    dataset = stage.train_dataset

    def train_dataset(first_step: int) -> tf.data.Dataset:
        def pull(index: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
            def check(index: np.ndarray) -> np.int64:
                if index == step:
                    signal.raise_signal(number)
                return index

            with tf.control_dependencies([tf.py_function(check, [index], tf.int64)]):
                return tf.identity(batch)

        counter = tf.data.Dataset.counter(tf.constant(first_step, tf.int64))
        paired = tf.data.Dataset.zip((counter, dataset(first_step))).map(pull)
        return paired.map(lambda x: tf.ensure_shape(x, (None, None)))

    stage.train_dataset = train_dataset  # type: ignore[method-assign]
    with pytest.raises(TrainingInterrupted, match=number.name):
        train(stage, options(), workdir, strategy=ONE)


class TestSignals:
    def test_in_the_last_evaluation(self, reference: Path, tmp_path: Path) -> None:
        def score(step: int) -> float:
            if step == 24:
                signal.raise_signal(signal.SIGTERM)
            return float(step)

        with pytest.raises(TrainingInterrupted, match="SIGTERM after step 24 of 24"):
            train(LanguageStage(score=score), options(), tmp_path, strategy=ONE)
        assert_same_run(reference, tmp_path)

    @pytest.fixture
    def acted_on(self) -> Iterator[list[int]]:
        """Signals that reach the previous handler of SIGINT."""
        numbers: list[int] = []
        before = signal.signal(signal.SIGINT, lambda number, _: numbers.append(number))
        yield numbers
        signal.signal(signal.SIGINT, before)

    def test_before_and_between_trainings(self, tmp_path: Path, acted_on: list[int]) -> None:
        """A signal between two trainings stops the next one before its first step."""
        before = signal.getsignal(signal.SIGINT)
        finished = {**SHORT, "steps": 1}
        with deferred_signals():
            train(LanguageStage(), options(**finished), tmp_path / "a", strategy=ONE)
            signal.raise_signal(signal.SIGINT)
            for name in "ab":  # also if no steps are left
                with pytest.raises(TrainingInterrupted, match="toy: stopped by SIGINT after step"):
                    train(LanguageStage(), options(**finished), tmp_path / name, strategy=ONE)
            assert not acted_on
            signal.raise_signal(signal.SIGINT)
            assert acted_on == [signal.SIGINT]
        assert checkpoints.newest(tmp_path / "b" / "checkpoints") is None
        assert signal.getsignal(signal.SIGINT) is before

    def test_in_the_first_evaluation(self, tmp_path: Path) -> None:
        stage = LanguageStage(score=lambda step: signal.raise_signal(signal.SIGTERM) or step)
        with pytest.raises(TrainingInterrupted, match="SIGTERM after step 0 of 24"):
            train(stage, options(), tmp_path, strategy=ONE, init_from=lambda: None)
        assert stage.evaluated == [0]

    def test_handlers_are_put_back(self, reference: Path) -> None:
        before = signal.getsignal(signal.SIGTERM)
        train(LanguageStage(), options(), reference, strategy=ONE)
        assert signal.getsignal(signal.SIGTERM) is before


class TestStart:
    def test_resume_before_init_before_scratch(self, reference: Path, tmp_path: Path) -> None:
        called = []
        first = train(
            LanguageStage(), options(**SHORT), tmp_path, strategy=ONE,
            init_from=lambda: called.append(1),
        )  # fmt: skip
        assert called == [1]
        again = train(
            LanguageStage(), options(**SHORT), tmp_path, strategy=ONE,
            init_from=lambda: called.append(2),
        )  # fmt: skip
        assert called == [1]
        assert again == first

    def test_takes_the_best_weights_of_another_run(self, reference: Path, tmp_path: Path) -> None:
        stage = LanguageStage()
        # Too small a step to change the weights visibly.
        changed = options(**{**SHORT, "steps": 1, "learning_rate": 1e-12})
        train(stage, changed, tmp_path, strategy=ONE, init_from=reference)
        saved = tensors(reference, "best")["model/embedding/embeddings"]
        np.testing.assert_allclose(stage.model.embedding.embeddings.numpy(), saved, atol=1e-6)
        assert not np.allclose(LanguageStage().model.embedding.embeddings.numpy(), saved, atol=1e-3)

    def test_missing_source(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"no complete checkpoint in .*nowhere"):
            train(
                LanguageStage(), options(), tmp_path, strategy=ONE, init_from=tmp_path / "nowhere"
            )

    def test_finished_run_returns_at_once(self, reference: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in reference.rglob("*") if path.is_file()}
        stage = LanguageStage()
        summary = train(stage, options(), reference, strategy=ONE)
        assert (summary.step, summary.best_step) == (24, 24)
        assert summary.last_metrics == summary.best_metrics == {"cider": 24.0}
        assert stage.evaluated == []
        before.pop(reference / ".lock")
        assert before == {path: path.stat().st_mtime_ns for path in before}

    @pytest.mark.parametrize(
        ("stage", "changes", "settings", "message"),
        [
            ({"fingerprint": {"vocabulary": "xyz"}}, {}, {}, "vocabulary 'xyz', was 'abc'"),
            ({"unused": True}, {}, {}, r"variables differ: \['dense_2/kernel'.*only now"),
            ({}, {"learning_rate": 0.5}, {}, "learning_rate 0.5, was 0.01"),
            ({}, {"seed": 3}, {}, "seed 3, was 0"),
            ({}, {}, {"model": {"units": 9}}, "settings differ.*model.units 9, was None"),
        ],
    )
    def test_another_run_in_the_folder(
        self, reference: Path, stage: Any, changes: Any, settings: Any, message: str
    ) -> None:
        before = tensors(reference)
        with pytest.raises(TrainingError, match=message):
            train(
                LanguageStage(**stage),
                options(**changes),
                reference,
                strategy=ONE,
                settings=settings,
            )
        np.testing.assert_equal(tensors(reference), before)

    def test_one_run_at_a_time(self, tmp_path: Path) -> None:
        with (
            durable_files.lock_folder(tmp_path),
            pytest.raises(TrainingError, match="another process is training"),
        ):
            train(LanguageStage(), options(), tmp_path, strategy=ONE)

    def test_stage_built_outside_the_scope(
        self, mirrored: tf.distribute.Strategy, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingError, match=r"inside strategy\.scope"):
            train(LanguageStage(), options(), tmp_path, strategy=mirrored)


class TestBest:
    def test_survives_a_restart(self, tmp_path: Path) -> None:
        def score(step: int) -> float:
            return {4: 0.9, 8: 0.5}.get(step, 0.7)

        train(LanguageStage(score=score), options(**SHORT), tmp_path, strategy=ONE)
        longer = options(**{**SHORT, "steps": 16})
        summary = train(LanguageStage(score=score), longer, tmp_path, strategy=ONE)
        assert (summary.best_step, summary.best_metrics) == (4, {"cider": 0.9})
        assert [path.name for path in (tmp_path / "best").iterdir()] == ["step-00000004"]

    def test_mode_and_not_a_number(self, tmp_path: Path) -> None:
        scores = {2: 3.0, 4: float("nan"), 6: 2.0, 8: 2.5}
        changed = options(**{**SHORT, "evaluate_every": 2}, best_mode="min")
        stage = LanguageStage(score=scores.__getitem__)
        summary = train(stage, changed, tmp_path, strategy=ONE)
        assert summary.best_step == 6
        lines = [line for line in read_metrics(tmp_path) if line["kind"] == "evaluation"]
        assert [line["cider"] for line in lines] == [3.0, None, 2.0, 2.5]

    def test_unknown_metric(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"best_metric='meteor'.*: cider"):
            train(LanguageStage(), options(**SHORT, best_metric="meteor"), tmp_path, strategy=ONE)

    def test_without(self, tmp_path: Path) -> None:
        summary = train(LanguageStage(), options(**SHORT, best_metric=None), tmp_path, strategy=ONE)
        assert summary.best_step is None
        assert not (tmp_path / "best").exists()


class BadStage(LanguageStage):
    """Stage whose loss is NaN at one step, or whose data end there."""

    def __init__(self, bad_step: int, *, ends: bool = False) -> None:
        super().__init__()
        self.bad_step, self.ends = bad_step, ends

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        dataset = super().train_dataset(first_step)
        if self.ends:
            return dataset.take(self.bad_step - first_step)
        counter = tf.data.Dataset.counter(tf.constant(first_step + 1, tf.int64))
        return tf.data.Dataset.zip((dataset, counter))

    def loss(self, batch: Any, training: bool) -> dict[str, LossTerm]:
        if self.ends:
            return super().loss(batch, training)
        terms = super().loss(batch[0], training)
        bad = tf.where(batch[1] == self.bad_step, np.nan, 1.0)
        return {**terms, "xe": terms["xe"]._replace(total=terms["xe"].total * bad)}


def test_not_finite(strategy: tf.distribute.Strategy, tmp_path: Path) -> None:
    with strategy.scope():
        stage = BadStage(15)
    message = r"(?s)not finite at step 15 \(of the steps 13 to 15\).*'xe': nan.*checkpoints"
    with pytest.raises(TrainingError, match=message):
        train(stage, options(), tmp_path, strategy=strategy)
    checkpoint = checkpoints.newest(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.step == 12
    assert all(np.isfinite(value).all() for value in tensors(tmp_path).values())


def test_data_that_end(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"ended between steps 8 and 10.*endless"):
        train(BadStage(9, ends=True), options(), tmp_path, strategy=ONE)


class TestFolder:
    def test_what_a_run_leaves(self, reference: Path) -> None:
        config = json.loads((reference / "config.json").read_text())
        assert config["training"]["learning_rate"] == 0.01
        assert config["fingerprint"] == {"vocabulary": "abc"}
        assert config["versions"]["tensorflow"] == tf.__version__
        lines = read_metrics(reference)
        assert [line["step"] for line in lines if line["kind"] == "train"] == [5, 10, 15, 20, 24]
        assert {"loss", "gradient_norm", "loss/xe", "loss/size", "loss/words"} <= lines[0].keys()
        tags = events(reference)
        for tag in ("evaluation/cider", "evaluation/sample", "evaluation/picture"):
            assert [step for step, found in tags if found == tag] == [8, 16, 24]

    def test_reported_loss_is_the_weighted_sum_of_its_terms(self, tmp_path: Path) -> None:
        train(LanguageStage(), options(**{**SHORT, "log_every": 1}), tmp_path, strategy=ONE)
        for line in read_metrics(tmp_path):
            if line["kind"] == "train":
                expected = line["loss/xe"] + 0.01 * line["loss/size"] + 0.1 * line["loss/sampled"]
                assert line["loss"] == pytest.approx(expected, rel=1e-5)

    def test_torn_lines_and_events_are_cut(self, reference: Path, tmp_path: Path) -> None:
        shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 25, "ki')
        (event_file,) = tmp_path.glob("events.*")
        event_file.write_bytes(event_file.read_bytes()[:-3])
        shutil.rmtree(sorted((tmp_path / "checkpoints").iterdir())[-1])
        run(ONE, tmp_path)
        assert_same_run(reference, tmp_path)

    def test_left_over_metrics_without_a_checkpoint(self, tmp_path: Path) -> None:
        (tmp_path / "metrics.jsonl").write_text('{"step": 3, "kind": "train"}\n')
        train(LanguageStage(), options(**SHORT), tmp_path, strategy=ONE)
        assert [line["step"] for line in read_metrics(tmp_path)] == [4, 4, 8, 8]

    def test_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(TrainingError, match=r"cannot write .*file/run"):
            train(LanguageStage(), options(), tmp_path / "file" / "run", strategy=ONE)

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
    def test_disk_full_or_read_only(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        sync, calls = durable_files.sync, 0

        def failing(path: Path) -> None:
            nonlocal calls
            calls += 1
            if calls > 8:  # the second checkpoint
                raise OSError(number, os.strerror(number), str(path))
            sync(path)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "sync", failing)
            changed = options(**SHORT, best_metric=None)
            with pytest.raises(TrainingError, match=os.strerror(number)):
                train(LanguageStage(), changed, tmp_path, strategy=ONE)
        checkpoint = checkpoints.newest(tmp_path / "checkpoints")
        assert checkpoint is not None
        assert checkpoint.step == 4
        assert train(LanguageStage(), changed, tmp_path, strategy=ONE).step == 8


def test_progress_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="absl"):
        changed = options(**SHORT, show_progress=True)
        train(LanguageStage(), changed, tmp_path, strategy=ONE)
    assert "toy: starting from scratch" in caplog.text
    assert "toy: step 8/8  loss" in caplog.text
    assert "steps/s" in caplog.text
    assert "toy: evaluation at 8: cider 8" in caplog.text
