"""Trains a supervised captioner on images and the captions people wrote for them.

    r2m-train-captioner --config=configs/captioners/updown.py --workdir=workspace/runs/updown \\
        --captions=workspace/records/captions/flickr8k

The records need what the model looks at: a grid (r2m-build-captions --backbone --store_grid) or
regions (--features); fc a vector (--backbone); with --config.image.source=pixels the pictures
(--images).
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from r2m.cli.common import run
from r2m.cli.training import WORKDIR, base_config, print_summaries, profile_window
from r2m.engine.signals import noting_signals

_CAPTIONS = flags.DEFINE_string(
    "captions", None, "Folder of caption records made by r2m-build-captions."
)
_INIT_FROM = flags.DEFINE_string(
    "init_from",
    None,
    "Run folder of the same model whose best weights to start from; a captioner of pixels may "
    "start from one of stored features. Default: random weights. Ignored by a run that has a "
    "checkpoint to resume.",
)


@noting_signals()
def main(argv: Sequence[str]) -> None:
    """Trains, and prints what the best checkpoint reached."""
    from r2m.stages.paired.experiment import run_captioner

    del argv
    config = base_config()
    if _CAPTIONS.value:
        config.data.captions = _CAPTIONS.value
    summary = run_captioner(
        config, WORKDIR.value, init_from=_INIT_FROM.value, profile=profile_window()
    )
    print_summaries({config.name: summary})


def console() -> None:
    """Entry of the console script."""
    flags.mark_flag_as_required("config")
    run(main)


if __name__ == "__main__":
    console()
