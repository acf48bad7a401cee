"""Training of a stage from the start, or from its last checkpoint, to its last step."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import platform
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from r2m.engine.distribution.batch_service import served_batches
from r2m.engine.distribution.sharing import distribute
from r2m.engine.distribution.workers import (
    chief_value,
    reporting_lost_workers,
    sum_over_workers,
    this_worker,
)
from r2m.engine.errors import TrainingError, TrainingInterrupted
from r2m.engine.monitoring.history import check_history
from r2m.engine.monitoring.hparams import run_settings
from r2m.engine.monitoring.parameters import parameter_table
from r2m.engine.monitoring.profiling import Profiler, ProfileWindow
from r2m.engine.monitoring.progress import Progress
from r2m.engine.monitoring.run_log import NoLog, RunLog
from r2m.engine.nonfinite import check_finite
from r2m.engine.optimization.averaging import WeightAverage
from r2m.engine.optimization.optimizers import make_optimizer
from r2m.engine.optimization.schedules import LearningRate
from r2m.engine.options import TrainingOptions
from r2m.engine.persistence import checkpoints
from r2m.engine.persistence.durable_files import clear_write_errors, lock_folder, write_json
from r2m.engine.persistence.saver import Saver
from r2m.engine.persistence.variable_names import describe_variables
from r2m.engine.signals import deferred_signals
from r2m.engine.stage import Evaluation, Stage, learning_rate_factors, remark_on, unit_of
from r2m.engine.state import TIE_BREAK, RunState, TrainingSummary
from r2m.engine.step import (
    StepResults,
    make_train_loop,
    seed_replicas,
    seed_states,
)

# Seconds for which one of several workers still waits for batches after a stop signal.
_LEAVE_AFTER = 60.0
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
    upgrade_settings: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    profile: ProfileWindow | None = None,
) -> TrainingSummary:
    """Trains `stage` up to step `options.steps` and resumes the run in `workdir`.

    Initial weights are taken from the first available source: the latest checkpoint in `workdir`;
    `init_from`; the model as it was built. A run that has reached `options.steps` returns
    immediately.

    Writes to `workdir`: config.json, metrics.jsonl, TensorBoard events, checkpoints/, best/.

    Args:
        stage: stage built inside `strategy.scope()`, see `r2m.engine.stage`.
        options: options of the training.
        workdir: folder of this run; created if missing.
        strategy: result of `r2m.engine.distribution.strategies.make_strategy`.
        init_from: run folder of another stage whose (best, else latest) weights initialize the
            model, or a function that sets the weights, called only if the run starts from scratch.
        config: written to config.json unchanged; must be JSON.
        settings: further settings that must not differ when the run is resumed (model, data,
            weights of the loss); JSON, compared by name.
        upgrade_settings: converts the settings that an earlier version saved with a checkpoint
            to the form of `settings`, before they are compared.
        profile: steps to run with TensorFlow's profiler.

    Returns:
        The summary of the run.

    Raises:
        TrainingInterrupted: SIGTERM or SIGINT arrived; the state was saved.
        TrainingError: a loss or gradient is not finite (see `TrainingOptions.on_nonfinite`), the
            run folder cannot be used or contains another run, a checkpoint does not match, or the
            optimizer or schedule is unknown.
    """
    workdir, worker = Path(workdir), this_worker(strategy)
    locked = lock_folder(workdir) if worker.is_chief else contextlib.nullcontext()
    with locked, reporting_lost_workers(strategy), deferred_signals() as signals:
        # Setup --------------------------------------------------------------------------------
        _check_scope(stage.model, strategy)
        with strategy.scope():
            learning_rate = LearningRate(options)
            optimizer = make_optimizer(
                options, stage.trainable_variables, learning_rate, learning_rate_factors(stage)
            )
        # Entries that must not change when a run is resumed.
        identity = {
            "stage": stage.name,
            # Settings are compared first, because they explain differences of variables.
            "settings": json.loads(json.dumps(dict(settings or {}))),
            "options": options.fixed(),
            "fingerprint": dict(stage.fingerprint),
            **describe_variables(stage.model, stage.trainable_variables),
        }
        latest_folder, best_folder = workdir / checkpoints.LATEST, workdir / checkpoints.BEST
        trained = dict(zip(identity["trainable"], stage.trainable_variables, strict=True))
        with strategy.scope():
            average = WeightAverage(options.ema_decay, trained)
        run_loop = make_train_loop(stage, optimizer, options, strategy, average)

        state = RunState()
        saved_step = 0  # step of the latest checkpoint
        remarks: set[str] = set()  # each is logged once

        def must_stop() -> bool:  # by a signal to any of the workers
            return sum_over_workers(strategy, float(bool(signals))) > 0

        def must_stop_here(waited: float) -> bool:
            # Other workers stop together with this one only at the end of a graph call, so it
            # leaves them only if no call follows.
            return bool(signals) and (worker.count == 1 or waited > _LEAVE_AFTER)

        def interrupted() -> TrainingInterrupted:
            by = signals[0] if signals else "a signal to another worker"
            return TrainingInterrupted(
                f"{stage.name}: stopped by {by} after step {state.step} of {options.steps}; all is "
                f"saved in {workdir}"
            )

        # Start: resume > init_from > scratch --------------------------------------------------
        latest = checkpoints.newest(latest_folder)
        if worker.is_chief:
            best_step = None if latest is None else latest.sidecar["state"].get("best_step")
            check_history(
                workdir, 0 if latest is None else latest.step,
                best_step=best_step, log_every=options.log_every,
            )  # fmt: skip
            for folder in (latest_folder, best_folder):
                checkpoints.clean(folder)
        if latest is not None:
            saved = upgrade_settings(latest.sidecar.get("settings", {}))
            latest = dataclasses.replace(latest, sidecar={**latest.sidecar, "settings": saved})
            checkpoints.restore(
                latest, model=stage.model, optimizer=optimizer, expected=identity,
                others=average.tensors,
            )  # fmt: skip
            state = RunState(**latest.sidecar["state"])
            saved_step = state.step
            logging.info("%s: resuming from %s", stage.name, latest.folder)
        elif callable(init_from):
            init_from()  # logs the source of the weights
        elif init_from is not None:
            source = checkpoints.restore_model(stage.model, init_from, stage.fingerprint)
            logging.info("%s: starting from the weights of %s", stage.name, source.folder)
        else:
            logging.info("%s: starting from scratch", stage.name)
        _check_same_start(state.step, workdir, strategy)
        if must_stop():
            raise interrupted()
        if state.step >= options.steps:
            logging.info("%s: all %d steps are done already", stage.name, options.steps)
            return state.summary()
        if latest is None:
            average.start()
        learning_rate.set_factor(state.learning_rate_factor)
        seed_replicas(stage.model, options.seed, strategy)
        if worker.is_chief:
            _write_config(workdir, stage, options, strategy, config or {})
            if latest is None:
                table = parameter_table(stage.model, stage.trainable_variables)
                logging.info("%s: parameters of the model\n%s", stage.name, table)

        # Train --------------------------------------------------------------------------------
        def save(folder: Path, keep: int, others: Mapping[str, Any] | None = None) -> None:
            if not worker.is_chief:
                return
            saver.save(
                folder,
                state.step,
                tensors=checkpoints.snapshot(stage.model, optimizer, others),
                sidecar={**identity, "state": dataclasses.asdict(state)},
                keep=keep,
            )

        def await_batches(steps: int) -> int:
            """Returns the number of next steps with batches; saves before it raises."""
            try:
                ready = batch_source.wait(steps, must_stop_here)
            except tf.errors.DataLossError:  # caused by the records, not by the service
                save_rest()
                raise
            except TrainingError as error:
                save_rest()
                kept = f"Nothing is lost: all {state.step} steps are saved in {workdir}; o"
                raise TrainingError(
                    f"{error}. {kept if state.step else 'O'}nce the service works, start the "
                    "same command to resume"
                ) from error
            if ready == 0:
                save_rest()
                raise interrupted()
            return ready

        def save_rest() -> None:
            """Saves the steps that the latest checkpoint does not have."""
            log.flush()
            if state.step != saved_step:
                save(latest_folder, options.keep_checkpoints, average.tensors)
            saver.wait()

        show = options.show_progress and worker.is_chief
        progress = Progress(stage.name, unit_of(stage), state.step, options.steps, show=show)
        hparams = run_settings(stage.name, config or {}, options)
        run_log = RunLog(workdir, state.step, hparams) if worker.is_chief else NoLog()
        with (
            Saver() as saver,
            run_log as log,
            contextlib.closing(progress),
            served_batches(
                stage.train_dataset(state.step), options.data_service, lambda: bool(signals)
            ) as batch_source,
            Profiler(profile, workdir, state.step, options.steps) as profiler,
        ):
            if must_stop():
                raise interrupted()
            batches = iter(distribute(batch_source.dataset, strategy))
            if state.step == 0 and init_from is not None and options.evaluate_every:
                # Only for the log: the initial weights do not count as best.
                log.evaluation(0, _evaluate(stage, 0, options, strategy))
            if must_stop():
                raise interrupted()
            while state.step < options.steps:
                profiler.before(state.step)
                steps = _until_next_event(state.step, options)
                steps = min(steps, profiler.until_edge(state.step) or steps)
                started = time.monotonic()
                steps = await_batches(steps)
                results = _run(run_loop, batches, steps, state.step, stage)
                # Evaluation is not timed.
                seconds = time.monotonic() - started
                progress.advance(steps, results.rows.sum(), seconds, compiled=results.compiled)
                check_finite(results, state, stage, options, latest_folder)
                state.step += steps
                profiler.after(state.step)
                state.add(results)
                ends = state.step == options.steps

                if state.step % options.log_every == 0 or ends:
                    metrics = state.pop_means()
                    metrics["learning_rate"] = learning_rate.last(state.step - state.skipped)
                    log.train(state.step, metrics)
                    progress.report(metrics, results.weights)
                    remark = remark_on(stage, metrics)
                    if remark is not None and remark not in remarks:
                        remarks.add(remark)
                        logging.warning("%s, up to step %d: %s", stage.name, state.step, remark)
                if _due(state.step, options.evaluate_every) or ends:
                    with average.in_use():  # also for users of the best weights
                        started = time.monotonic()
                        evaluation = _evaluate(stage, state.step, options, strategy)
                        log.evaluation(state.step, evaluation)
                        progress.report_evaluation(evaluation.metrics, time.monotonic() - started)
                        if state.record_evaluation(evaluation, options):
                            log.best(state.step, evaluation.metrics)
                            save(best_folder, keep=1)
                    state.watch_plateau(options)
                    learning_rate.set_factor(state.learning_rate_factor)
                stops = must_stop()  # only now: an evaluation may take minutes
                if _due(state.step, options.checkpoint_every) or ends or stops:
                    log.flush()
                    save(latest_folder, options.keep_checkpoints, average.tensors)
                    saved_step = state.step
                saver.check()
                if stops:
                    saver.wait()
                    raise interrupted()
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


def _check_same_start(step: int, workdir: Path, strategy: tf.distribute.Strategy) -> None:
    first = int(chief_value(strategy, step))
    apart = sum_over_workers(strategy, float(step != first)) > 0
    if apart:
        raise TrainingError(
            f"the workers find different checkpoints in {workdir}: the chief is at step {first}, "
            f"this worker at {step}; all workers must share the folder"
        )


def _evaluate(
    stage: Stage, step: int, options: TrainingOptions, strategy: tf.distribute.Strategy
) -> Evaluation:
    """Evaluates on the chief; other workers receive the metrics that select the best weights."""
    key = options.best_metric
    deciding = [] if key is None else list(dict.fromkeys((key, TIE_BREAK)))
    if not this_worker(strategy).is_chief:
        return Evaluation(metrics={name: chief_value(strategy, 0.0) for name in deciding})
    # Restores the random states, so that training does not depend on the number of evaluations.
    states = [(state, state.numpy()) for state in seed_states(stage.model)]
    evaluation = stage.evaluate(step)
    for state, value in states:
        state.assign(value)
    seed_replicas(stage.model, options.seed, strategy)
    for name in deciding:
        chief_value(strategy, float(evaluation.metrics.get(name, math.nan)))
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
    with clear_write_errors(workdir / "config.json"):
        write_json(workdir / "config.json", contents)
