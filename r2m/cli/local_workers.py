"""Runs one training command as several workers on this machine, as a test for several machines.

    r2m-local-workers --workers=2 -- r2m-train-curriculum --config=shapes \\
        --workdir=workspace/runs/shapes --corpora=workspace/records/corpora/shapes \\
        --images=workspace/records/images/shapes

On several machines start the command itself on each, with TF_CONFIG set (see WORKSPACE.md). Ctrl-C
or SIGTERM stops all workers. If one ends with an error, the others are stopped and the exit code is
1. The same command resumes.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import app

from r2m.cli.flag_groups import MACHINE
from r2m.cli.launch import COMMAND_VARIABLE, run, this_command
from r2m.cli.number_flags import define_whole

_WORKERS = define_whole("workers", 2, "Number of processes.", least=1, most=1_024, group=MACHINE)


def main(argv: Sequence[str]) -> None:
    """Runs the command in all workers and waits until they have ended."""
    from r2m.engine.distribution.worker_processes import run_workers

    command = argv[1:]
    if not command:
        raise app.UsageError("give the command to run after --, for example -- r2m-train-xe ...")
    # A worker resumed by its own command would train without the others.
    run_workers(command, _WORKERS.value, {COMMAND_VARIABLE: this_command()})


def console() -> None:
    """Runs the command as a console script."""
    run(main, arguments="-- COMMAND ...")


if __name__ == "__main__":
    console()
