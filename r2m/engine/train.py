"""Training a stage from start (or from where it was stopped) to its last step."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from r2m.engine import checkpoints
from r2m.engine.errors import TrainingError, TrainingInterrupted
from r2m.engine.files import locked, write_json, writing
from r2m.engine.logging import Progress, RunLog
from r2m.engine.names import describe
from r2m.engine.nonfinite import check_finite
from r2m.engine.optimizers import make_optimizer
from r2m.engine.options import TrainingOptions
from r2m.engine.parameters import parameter_table
from r2m.engine.profiling import Profiler, ProfileWindow
from r2m.engine.stage import Evaluation, Stage, unit_of
from r2m.engine.state import RunState, TrainingSummary
from r2m.engine.step import (
    StepResults,
    distribute,
    make_train_loop,
    seed_replicas,
    seed_states,
)

_LIBRARIES = ("keras", "numpy", "tensorflow", "tensorflow-text", "r2m")


def train(
    stage: Stage,
    options: TrainingOptions,
    workdir: Path | str,
    *,
    strategy: tf.distribute.Strategy,
    init_from: Path | str | Callable[[], None] | None = None,
    config: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    profile: ProfileWindow | None = None,
) -> TrainingSummary:
    """Trains `stage` up to step `options.steps`, resuming what `workdir` holds.

    Where the weights come from, in this order: the latest checkpoint in `workdir`; `init_from`;
    the model as it was built. A run that has reached `options.steps` returns at once.

    Writes to `workdir`: config.json, metrics.jsonl, TensorBoard events, checkpoints/, best/.

    Args:
        stage: built inside `strategy.scope()`, see `r2m.engine.stage`.
        options: how to train.
        workdir: folder of this run; made if missing.
        strategy: of `r2m.engine.strategies.make_strategy`.
        init_from: working folder of another stage's run whose (best, else latest) weights the model
            starts from, or a function that sets the weights, called only when the run starts anew.
        config: goes into config.json as it is; must be JSON.
        settings: what else must not differ when the run is resumed (model, data, weights of the
            loss); JSON, compared by name.
        profile: steps to run under TensorFlow's profiler.

    Returns:
        The summary of the run.

    Raises:
        TrainingInterrupted: SIGTERM or SIGINT came; the state was saved.
        TrainingError: a loss or gradient is not finite (see `TrainingOptions.on_nonfinite`), the
            working folder cannot be used or belongs to another run, or a checkpoint does not fit.
    """
    workdir = Path(workdir)
    with locked(workdir), _stop_signals() as stopped_by:
        # Setup --------------------------------------------------------------------------------
        _check_scope(stage.model, strategy)
        with strategy.scope():
            optimizer = make_optimizer(options, stage.trainable_variables)
        # What a run may not change in when it is resumed.
        identity = {
            "stage": stage.name,
            "fingerprint": dict(stage.fingerprint),
            **describe(stage.model, stage.trainable_variables),
            "options": options.fixed(),
            "settings": json.loads(json.dumps(dict(settings or {}))),
        }
        latest_folder, best_folder = workdir / checkpoints.LATEST, workdir / checkpoints.BEST
        for folder in (latest_folder, best_folder):
            checkpoints.clean(folder)
        run_loop = make_train_loop(stage, optimizer, options, strategy)

        # Start: resume > init_from > scratch --------------------------------------------------
        state = RunState()
        latest = checkpoints.newest(latest_folder)
        if latest is not None:
            checkpoints.restore(latest, model=stage.model, optimizer=optimizer, expected=identity)
            state = RunState(**latest.sidecar["state"])
            logging.info("%s: resuming from %s", stage.name, latest.folder)
        elif callable(init_from):
            init_from()
            logging.info("%s: starting from the given weights", stage.name)
        elif init_from is not None:
            source = checkpoints.restore_model(stage.model, init_from, stage.fingerprint)
            logging.info("%s: starting from the weights of %s", stage.name, source.folder)
        else:
            logging.info("%s: starting from scratch", stage.name)
        if state.step >= options.steps:
            logging.info("%s: all %d steps are done already", stage.name, options.steps)
            return state.summary()
        seed_replicas(stage.model, options.seed, strategy)
        _write_config(workdir, stage, options, strategy, config or {})
        table = parameter_table(stage.model, stage.trainable_variables)
        logging.info("%s: its parameters\n%s", stage.name, table)

        # Train --------------------------------------------------------------------------------
        def save(folder: Path, keep: int) -> None:
            checkpoints.save(
                folder, state.step, model=stage.model, optimizer=optimizer, keep=keep,
                sidecar={**identity, "state": dataclasses.asdict(state)},
            )  # fmt: skip

        batches = iter(distribute(stage.train_dataset(state.step), strategy))
        progress = Progress(
            stage.name, unit_of(stage), state.step, options.steps, show=options.show_progress
        )
        hparams = {
            "stage": stage.name, **(config or {}), "options": dataclasses.asdict(options)
        }  # fmt: skip
        with (
            RunLog(workdir, state.step, hparams) as log,
            contextlib.closing(progress),
            Profiler(profile, workdir, state.step, options.steps) as profiler,
        ):
            if state.step == 0 and init_from is not None and options.evaluate_every:
                # For the log only: what the stage starts with is not its own best.
                log.evaluation(0, _evaluate(stage, 0, options.seed, strategy))
            while state.step < options.steps:
                profiler.before(state.step)
                steps = _until_next_event(state.step, options)
                steps = min(steps, profiler.until_edge(state.step) or steps)
                started = time.monotonic()
                results = _run(run_loop, batches, steps, state.step, stage)
                # Evaluation is not timed.
                progress.advance(steps, results.rows.sum(), time.monotonic() - started)
                check_finite(results, state, stage, options, latest_folder)
                state.step += steps
                profiler.after(state.step)
                state.add(results)
                ends = state.step == options.steps

                if state.step % options.log_every == 0 or ends:
                    metrics = state.take_means()
                    log.train(state.step, metrics)
                    progress.report(metrics)
                if _due(state.step, options.evaluate_every) or ends:
                    evaluation = _evaluate(stage, state.step, options.seed, strategy)
                    log.evaluation(state.step, evaluation)
                    progress.report_evaluation(evaluation.metrics)
                    if state.judge(evaluation, options):
                        log.best(state.step, evaluation.metrics)
                        save(best_folder, keep=1)
                if _due(state.step, options.checkpoint_every) or ends or stopped_by:
                    log.flush()
                    save(latest_folder, keep=options.keep_checkpoints)
                if stopped_by:
                    raise TrainingInterrupted(
                        f"{stage.name}: stopped by {stopped_by[0]} after step {state.step} of "
                        f"{options.steps}; all is saved in {workdir}"
                    )
        return state.summary()


def _due(step: int, period: int) -> bool:
    return period > 0 and step % period == 0


def _until_next_event(step: int, options: TrainingOptions) -> int:
    periods = (options.log_every, options.evaluate_every, options.checkpoint_every)
    until = [period - step % period for period in periods if period]
    return min(options.steps_per_loop, options.steps - step, *until)


def _run(
    run_loop: Callable[[Any, int], StepResults], batches: Any, steps: int, step: int, stage: Stage
) -> StepResults:
    try:
        return run_loop(batches, steps)
    except tf.errors.FailedPreconditionError as error:
        if "infinite number of elements" not in str(error):
            raise
        raise TrainingError(
            f"the training data of stage {stage.name!r} ended between steps {step} and "
            f"{step + steps}; train_dataset() must be endless"
        ) from error


def _evaluate(stage: Stage, step: int, seed: int, strategy: tf.distribute.Strategy) -> Evaluation:
    # Training must not depend on how often it is evaluated: undo what evaluation draws.
    states = [(state, state.numpy()) for state in seed_states(stage.model)]
    evaluation = stage.evaluate(step)
    for state, value in states:
        state.assign(value)
    seed_replicas(stage.model, seed, strategy)
    return evaluation


def _check_scope(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    if strategy.num_replicas_in_sync == 1:
        return
    for variable in model.variables:
        if not strategy.extended.variable_created_in_scope(variable.value):
            raise TrainingError(
                f"{variable.path} is not mirrored: build the stage inside strategy.scope()"
            )


def _write_config(
    workdir: Path,
    stage: Stage,
    options: TrainingOptions,
    strategy: tf.distribute.Strategy,
    config: Mapping[str, Any],
) -> None:
    versions = {"python": platform.python_version()}
    for library in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[library] = metadata.version(library)
    contents = {
        "stage": stage.name,
        "config": dict(config),
        "training": dataclasses.asdict(options),
        "fingerprint": dict(stage.fingerprint),
        "strategy": type(strategy).__name__,
        "replicas": strategy.num_replicas_in_sync,
        "versions": versions,
    }
    with writing(workdir / "config.json"):
        write_json(workdir / "config.json", contents)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """Yields a list that the name of SIGTERM or SIGINT is put in when it comes.

    A second one acts at once. Only the main thread can handle signals; elsewhere nothing is done.
    """
    received: list[str] = []
    previous: dict[signal.Signals, Any] = {}

    def note(number: int, _: Any) -> None:
        received.append(signal.Signals(number).name)
        logging.warning("%s: saving after the current steps, then stopping", received[0])
        signal.signal(number, previous[signal.Signals(number)])

    with contextlib.suppress(ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for handled, handler in previous.items():
            signal.signal(handled, handler)
