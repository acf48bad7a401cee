"""Trains stages 1 to 4 in order, each from the best checkpoint of the previous one.

    r2m-train-curriculum --config=shapes --workdir=workspace/runs/shapes \\
        --corpora=workspace/records/corpora/shapes --images=workspace/records/images/shapes

The same command resumes after an interruption; finished stages are not trained again.
"""

from __future__ import annotations

import sys

from absl import flags

from r2m.cli.curriculum_training import curriculum_main
from r2m.cli.launch import run


def console() -> None:
    """Runs the command as a console script."""
    flags.mark_flag_as_required("config")
    run(curriculum_main, sys.modules[__name__].__doc__)


if __name__ == "__main__":
    console()
