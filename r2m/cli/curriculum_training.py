"""Flags and entry point of the commands that train R2M, one per stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from r2m.cli.flag_groups import INPUT, TRAINING
from r2m.cli.launch import run
from r2m.cli.training import (
    WORKDIR,
    checked_config,
    print_next,
    print_summaries,
    profile_window,
)
from r2m.cli.value_flags import define_text
from r2m.engine.signals import deferred_signals
from r2m.tasks.unsupervised_captioning.curriculum import CURRICULUM, stage_spec

# Appended to the description of a script that trains one stage.
_EXAMPLE = """

    r2m-train-{name} --config=shapes --workdir=workspace/runs/shapes \\
        --corpora=workspace/records/corpora/shapes --images=workspace/records/images/shapes"""

_INIT_FROM = define_text(
    "init_from",
    None,
    "Run folder of the stage whose best weights initialize this one. Default: the previous stage "
    "in the same workdir (the first stage starts from scratch). Ignored by a stage that has a "
    "checkpoint to resume.",
    group=TRAINING,
    value="FOLDER",
)
_CORPORA = define_text(
    "corpora",
    None,
    "Folder of sentence records made by r2m-build-corpora. Required, unless the configuration "
    "names one (config.data.corpora).",
    group=INPUT,
    value="FOLDER",
)
_IMAGES = define_text(
    "images",
    None,
    "Folder of image records made by r2m-build-images. Stages xe and xe_rec use only its "
    "validation split, to caption and score it during training; optional for them.",
    group=INPUT,
    value="FOLDER",
)


def _experiment_config(stage: str) -> Any:
    return checked_config(stage, {"corpora": _CORPORA.value, "images": _IMAGES.value})


def stage_main(name: str, description: str) -> Callable[[], None]:
    """Returns the console entry of the command that trains stage `name`.

    Args:
        name: name of the stage.
        description: description of the script, without an example.
    """

    @deferred_signals()
    def main(argv: Sequence[str]) -> None:
        del argv
        config = _experiment_config(name)
        from r2m.tasks.unsupervised_captioning import experiment

        summary = experiment.run_stage(
            name,
            config,
            WORKDIR.value,
            init_from=_INIT_FROM.value,
            profile=profile_window(),
        )
        print_summaries({name: summary})
        _print_next(name, config)

    def console() -> None:
        flags.mark_flag_as_required("config")
        run(main, description + _EXAMPLE.format(name=name.replace("_", "-")))

    return console


@deferred_signals()
def curriculum_main(argv: Sequence[str]) -> None:
    """Trains the four stages in order."""
    del argv
    config = _experiment_config(CURRICULUM[0])
    from r2m.tasks.unsupervised_captioning import experiment

    summaries = experiment.run_curriculum(
        config, WORKDIR.value, init_from=_INIT_FROM.value, profile=profile_window()
    )
    print_summaries(summaries)
    _print_next(list(summaries)[-1], config)


def _print_next(name: str, config: Any) -> None:
    """Prints the folder of a stage's run and the next commands."""
    after = [stage for stage in CURRICULUM if stage_spec(stage).previous == name]
    print_next(
        Path(WORKDIR.value, name),
        config.data.images,
        detections=True,
        next_stage=f"r2m-train-{after[0].replace('_', '-')}" if after else None,
    )
