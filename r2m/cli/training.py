"""Flags of all training commands, and the scores and next commands that they print at the end."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r2m.cli.config_flag import config_file, define_config_flag
from r2m.cli.flag_groups import INPUT, OUTPUT, TRAINING, put_flag
from r2m.cli.former_flags import set_former_flags
from r2m.cli.value_flags import define_text
from r2m.configuration.config_checks import check_config, check_family

if TYPE_CHECKING:
    from r2m.engine.monitoring.profiling import ProfileWindow
    from r2m.engine.state import TrainingSummary

# Aligns what `print_next` prints.
_LABEL = 10

_CONFIG = define_config_flag()
put_flag("config", INPUT, "NAME_OR_FILE[:ARGUMENT]")
WORKDIR = define_text(
    "workdir",
    None,
    "Folder of the experiment, for example workspace/runs/flickr8k. Each stage gets a folder in it "
    "with its checkpoints, metrics.jsonl and TensorBoard events (tensorboard --logdir=WORKDIR). "
    "Start the same command again to resume; Ctrl-C or SIGTERM saves and ends with exit code 0.",
    required=True,
    group=OUTPUT,
    value="FOLDER",
)
_PROFILE_STEPS = define_text(
    "profile_steps",
    None,
    "FIRST:LAST, for example 100:110: profiles the steps after FIRST up to LAST with TensorFlow's "
    "profiler. The profile goes to the stage's folder (TensorBoard's Profile tab).",
    group=TRAINING,
    value="FIRST:LAST",
)


def has_stage(stage: str) -> bool:
    """Returns whether the configuration of `--config` has a stage of this name."""
    return stage in (_CONFIG.value.get("stages") or ())


def checked_config(stage: str, records: Mapping[str, str | None]) -> Any:
    """Returns the configuration, overridden by the values of flags.

    Args:
        stage: (first) stage that is trained with it.
        records: field of `config.data` -> folder of records; None keeps the configuration's.

    Raises:
        InputError: a configuration of another family, or invalid values.
    """
    config = _CONFIG.value
    check_family(config, stage, config_file())
    set_former_flags(config.training)
    for name, folder in records.items():
        if folder:
            config.data[name] = folder
    check_config(config, stage, config_file())
    return config


def profile_window() -> ProfileWindow | None:
    """Returns the steps of `--profile_steps`; raises TrainingError for an invalid window."""
    from r2m.engine.monitoring.profiling import ProfileWindow

    return ProfileWindow.parse(_PROFILE_STEPS.value) if _PROFILE_STEPS.value else None


def print_summaries(summaries: dict[str, TrainingSummary]) -> None:
    """Prints one row per stage: steps, and metrics of its best checkpoint (1.0 = 100)."""
    print(
        f"{'stage':<10}{'steps':>8}{'best at':>9}{'loss':>9}{'BLEU-4':>9}{'ROUGE-L':>9}{'CIDEr':>9}"
    )
    for name, summary in summaries.items():
        metrics = summary.best_metrics or summary.last_metrics
        values = "".join(
            f" {metrics[key]:>8.4f}" if key in metrics else f"{'-':>9}"
            for key in ("loss", "bleu_4", "rouge_l", "cider")
        )
        best_at = "-" if summary.best_step is None else summary.best_step
        print(f"{name:<10}{summary.step:>8}{best_at:>9}{values}")


def print_recalls(summary: TrainingSummary) -> None:
    """Prints the recalls of an embedding's best checkpoint on the validation split, in percent."""
    metrics = summary.best_metrics or summary.last_metrics
    print(f"{'of val':<20}{'R@1':>7}{'R@5':>7}{'R@10':>7}{'median rank':>13}")
    rows = {"i2t": "captions by images", "t2i": "images by captions"}
    for direction, title in rows.items():
        recalls = "".join(
            f"{metrics[f'{direction}_r{k}']:>7.1f}"
            if f"{direction}_r{k}" in metrics
            else f"{'-':>7}"
            for k in (1, 5, 10)
        )
        median = metrics.get(f"{direction}_median_rank")
        print(f"{title:<20}{recalls}{'-' if median is None else f'{median:g}':>13}")
    best_at = "-" if summary.best_step is None else summary.best_step
    print(f"{summary.step} steps, best at {best_at}")


def print_next(
    folder: Path, records: str | None, *, detections: bool, next_stage: str | None = None
) -> None:
    """Prints the folder of a run, its best score, and the commands that evaluate and use it.

    Args:
        folder: folder of the run.
        records: records that it was trained on; None where there were none. They are named only if
            captions were scored on them: without a validation split they cannot be evaluated on.
        detections: whether it captions detected objects.
        next_stage: command of the stage that starts from this one.
    """
    from r2m.engine.monitoring.run_list import read_run
    from r2m.engine.monitoring.text_tables import four_digits

    run = read_run(folder)
    best = "no validation score selects a best checkpoint: the latest one is used"
    if run.best_value is not None:
        best = f"best {run.best_metric} {four_digits(run.best_value)} at step {run.best_step}"
    asked = ["--detections=FILE"] if detections else []
    scored = run.best_metric == "cider" and run.best_value is not None
    shown = records if scored and records else "FOLDER"
    lines = {
        "run": f"{folder} ({best})",
        "evaluate": _command("r2m-evaluate", folder, f"--records={shown}"),
        "caption": _command("r2m-caption", folder, "--images=FOLDER", *asked, "--output=FOLDER"),
    }
    if next_stage:
        lines["next"] = f"{next_stage}, with the same flags"
    print()
    for label, text in lines.items():
        print(f"{label + ':':<{_LABEL}}{text}")


def _command(script: str, folder: Path, *arguments: str) -> str:
    return shlex.join([script, f"--run={folder}", *arguments])
