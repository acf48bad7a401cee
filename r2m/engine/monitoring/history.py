"""Detection of steps in a run folder that its checkpoints do not contain."""

from __future__ import annotations

from pathlib import Path

from absl import logging

from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.metrics_file import METRICS, read_metrics
from r2m.engine.monitoring.run_list import read_config
from r2m.engine.persistence.checkpoint_folders import BEST, LATEST, begun, folders_of


def check_history(workdir: Path, step: int, *, best_step: int | None, log_every: int) -> None:
    """Detects that files of a run were removed; only warns if training can continue without them.

    Args:
        workdir: folder of the run.
        step: number of steps in the newest checkpoint; 0 without checkpoints.
        best_step: step of the best checkpoint, as recorded in the newest one.
        log_every: steps between lines of metrics.

    Raises:
        TrainingError: the checkpoints no longer exist, and a new start would remove metrics and
            best weights of the earlier steps; or a line of metrics.jsonl is damaged.
    """
    logged = max((int(line["step"]) for line in read_metrics(workdir)), default=None)
    if step == 0:
        _check_beginning(workdir, logged)
        return
    if logged is None and step >= log_every:
        logging.warning(
            "%s is missing or empty although %d steps are done: their metrics are lost; training "
            "continues from the checkpoint, and metrics of later steps are added",
            workdir / METRICS,
            step,
        )
    if best_step is not None and not folders_of(workdir / BEST):
        logging.warning(
            "%s is missing or empty although step %d was the best: until a later step is better, "
            "the newest checkpoint takes its place",
            workdir / BEST,
            best_step,
        )


def _check_beginning(workdir: Path, logged: int | None) -> None:
    logged = logged or 0
    training = (read_config(workdir) or {}).get("training", {})
    # Without checkpoints in between, the only one is from the last step.
    period = training.get("checkpoint_every") or training.get("steps") or 0
    best = max(
        (int(path.name.rpartition("-")[2]) for path in folders_of(workdir / BEST)), default=0
    )
    done = max(best, logged)
    if begun(workdir):
        # Checkpoints are written one after the other, with at most two in the queue: a run killed
        # before its first one was complete is not further than this.
        lost = best > period or logged > 3 * period
    else:
        # A run that is further than its first checkpoint had started to write it. At that step it
        # may have been killed just before, but then the folder does not exist yet.
        lost = done > period or (done > 0 and (workdir / LATEST).is_dir())
    if period and lost:
        start = f" (with --init_from={workdir} from its best weights)" if best else ""
        raise TrainingError(
            f"{workdir / LATEST} contains no checkpoint, but according to "
            f"{workdir / (BEST if best > logged else METRICS)} this run has done at least {done} "
            f"steps. A new start would remove the rest of the run: restore the checkpoints, or "
            f"train in another --workdir{start}"
        )
    if logged:
        logging.warning(
            "%s: %d steps were logged but no checkpoint was saved; training begins at step 0",
            workdir,
            logged,
        )
