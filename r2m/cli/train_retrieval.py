"""Trains a visual-semantic embedding, which ranks images by sentences and sentences by images.

    r2m-train-retrieval --config=vse++:flickr8k --workdir=workspace/runs/vse \\
        --captions=workspace/records/captions/flickr8k

The records must contain the features that the preset reads. For most presets this is a vector per
image (r2m-build-captions --backbone, or --captions=vsepp:FOLDER and --captions=kiros:FOLDER for the
published files). vse_infinity reads regions (--features) or a grid (--backbone --store_grid). With
--config.image.source=pixels the records must contain the pictures (--images).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from r2m.cli.flag_groups import INPUT, TRAINING
from r2m.cli.launch import run
from r2m.cli.training import WORKDIR, checked_config, print_recalls, profile_window
from r2m.cli.value_flags import define_text
from r2m.engine.signals import deferred_signals

_STAGE = "ranking"
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
    "Run folder of the same embedding, whose best weights initialize this run; an embedding that "
    "reads pixels may start from one that reads stored features. Default: random weights. Ignored "
    "by a run that has a checkpoint to resume.",
    group=TRAINING,
    value="FOLDER",
)


@deferred_signals()
def main(argv: Sequence[str]) -> None:
    """Trains an embedding and prints its recalls."""
    del argv
    config = checked_config(_STAGE, {"captions": _CAPTIONS.value})
    from r2m.tasks.retrieval.experiment import run_retrieval

    summary = run_retrieval(
        config, WORKDIR.value, init_from=_INIT_FROM.value, profile=profile_window()
    )
    print_recalls(summary)
    print(f"\nrun:      {Path(WORKDIR.value, _STAGE)}")


def console() -> None:
    """Runs the command as a console script."""
    flags.mark_flag_as_required("config")
    run(main, __doc__ or "")


if __name__ == "__main__":
    console()
