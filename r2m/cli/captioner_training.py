"""Flags and entry point of the commands that train a supervised captioner, one per stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from r2m.cli.flag_groups import INPUT, TRAINING
from r2m.cli.launch import run
from r2m.cli.training import (
    WORKDIR,
    checked_config,
    has_stage,
    print_next,
    print_summaries,
    profile_window,
)
from r2m.cli.value_flags import define_text
from r2m.engine.signals import deferred_signals
from tfrecords.core.errors import InputError

_CAPTIONS = define_text(
    "captions",
    None,
    "Folder of caption records made by r2m-build-captions. Required, unless the configuration "
    "names one (config.data.captions).",
    group=INPUT,
    value="FOLDER",
)
_INIT_FROM = define_text(
    "init_from",
    None,
    "Run folder of the same model, whose best weights initialize this run; a captioner that "
    "reads pixels may start from one that reads stored features. Default: cross entropy starts "
    "from random weights, self-critical training from the run of cross entropy in the same "
    "workdir. Ignored by a run that has a checkpoint to resume.",
    group=TRAINING,
    value="FOLDER",
)


def stage_main(
    name: str,
    description: str,
    *,
    r2m_stage: str | None = None,
    r2m_records: Callable[[], dict[str, str | None]] = dict,
) -> Callable[[], None]:
    """Returns the console entry of the command that trains stage `name`.

    Args:
        name: name of the stage of a captioner.
        description: description of the script.
        r2m_stage: stage to train with a configuration of R2M; None refuses such configurations.
        r2m_records: returns the further records of R2M: field of `config.data` -> folder or None.
    """

    @deferred_signals()
    def main(argv: Sequence[str]) -> None:
        del argv
        records = {"captions": _CAPTIONS.value}
        if r2m_stage is not None and has_stage(r2m_stage):
            config = checked_config(r2m_stage, {**records, **r2m_records()})
            from r2m.tasks.unsupervised_captioning import experiment

            found = experiment.run_stage(
                r2m_stage,
                config,
                WORKDIR.value,
                init_from=_INIT_FROM.value,
                profile=profile_window(),
            )
            print_summaries({r2m_stage: found})
            print_next(Path(WORKDIR.value, r2m_stage), config.data.images, detections=True)
            return
        for field, folder in r2m_records().items():
            if folder:
                raise InputError(
                    f"--{field}={folder}: only R2M has {field} records; this is a configuration "
                    "of a supervised captioner"
                )
        config = checked_config(name, records)
        from r2m.inference.captioner_inputs import TrainedInputs
        from r2m.inference.run_folder import RunFolder
        from r2m.tasks.captioning.experiment import run_captioner

        summary = run_captioner(
            config, WORKDIR.value, name=name, init_from=_INIT_FROM.value, profile=profile_window()
        )
        print_summaries({config.name: summary})
        trained = Path(WORKDIR.value, name)
        detections = TrainedInputs.read(RunFolder(trained)).needs_detections
        print_next(trained, config.data.captions, detections=detections)

    def console() -> None:
        flags.mark_flag_as_required("config")
        run(main, description)

    return console
