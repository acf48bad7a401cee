"""Flags and entry point shared by the scripts that train R2M, one a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from r2m.cli.common import run
from r2m.cli.training import (
    WORKDIR,
    checked_config,
    print_next,
    print_summaries,
    profile_window,
)
from r2m.engine.signals import noting_signals
from r2m.stages.unpaired.curriculum import CURRICULUM, stage_spec

_EXAMPLE = """    r2m-train-{name} --config=shapes --workdir=workspace/runs/shapes \\
        --corpora=workspace/records/corpora/shapes --images=workspace/records/images/shapes"""

_INIT_FROM = flags.DEFINE_string(
    "init_from",
    None,
    "Run folder of the stage whose best weights to start from. Default: the stage before this one "
    "in the same workdir (the first stage starts from scratch). Ignored by a stage that has a "
    "checkpoint to resume.",
)
_CORPORA = flags.DEFINE_string(
    "corpora", None, "Folder of sentence records made by r2m-build-corpora."
)
_IMAGES = flags.DEFINE_string(
    "images",
    None,
    "Folder of image records made by r2m-build-images. Stages xe and xe_rec use only its "
    "validation split, to caption and score while they train, and can do without.",
)


def _experiment_config(stage: str) -> Any:
    return checked_config(stage, {"corpora": _CORPORA.value, "images": _IMAGES.value})


def stage_main(name: str) -> Callable[[], None]:
    """The console entry of the script that trains stage `name`."""

    @noting_signals()
    def main(argv: Sequence[str]) -> None:
        del argv
        config = _experiment_config(name)
        from r2m.stages.unpaired import experiment

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
        run(
            main,
            f"Trains {stage_spec(name).summary}.\n\n{_EXAMPLE.format(name=name.replace('_', '-'))}",
        )

    return console


@noting_signals()
def curriculum_main(argv: Sequence[str]) -> None:
    """Trains the four stages in order."""
    del argv
    config = _experiment_config(CURRICULUM[0])
    from r2m.stages.unpaired import experiment

    summaries = experiment.run_curriculum(
        config, WORKDIR.value, init_from=_INIT_FROM.value, profile=profile_window()
    )
    print_summaries(summaries)
    _print_next(list(summaries)[-1], config)


def _print_next(name: str, config: Any) -> None:
    """Prints where the run of a stage is and what to do with it."""
    after = [stage for stage in CURRICULUM if stage_spec(stage).previous == name]
    print_next(
        Path(WORKDIR.value, name),
        config.data.images,
        detections=True,
        next_stage=f"r2m-train-{after[0].replace('_', '-')}" if after else None,
    )
