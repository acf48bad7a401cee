"""Execution of the commands of a recipe, each in a separate process."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from r2m.engine.signals import forwarded_signals, interrupt
from r2m.recipes.steps import Command
from tfrecords.core.errors import InputError

_RESUME = "the same command resumes here: finished steps are reused"


def find_script(name: str) -> str:
    """Returns the path of a console script of this environment, which need not be on PATH.

    Raises:
        InputError: the script is not installed.
    """
    # In the folder of the running script, or where this Python installs scripts.
    folders = [str(Path(sys.argv[0]).absolute().parent), sysconfig.get_path("scripts")]
    script = shutil.which(name, path=os.pathsep.join(folders))
    if script is None:
        raise InputError(
            f"{name} is neither in {' nor in '.join(dict.fromkeys(folders))}; install this package "
            "with pip, which puts its scripts there"
        )
    return script


def run_steps(steps: Sequence[Command], environment: Mapping[str, str]) -> int:
    """Runs commands in order and prints each of them; ends with the first one that fails.

    SIGTERM and SIGINT are forwarded to the running command, which saves its state, and end the
    recipe.

    Args:
        steps: console scripts with their arguments.
        environment: environment variables of the commands.

    Returns:
        The exit code of the command that failed; 128 plus the number of a signal, as in shells, if
        one arrived or ended a command; else 0.

    Raises:
        InputError: a console script is not installed.
    """
    commands = [[find_script(step[0]), *step[1:]] for step in steps]
    started: list[subprocess.Popen[str]] = []
    with forwarded_signals(started) as received:
        for number, (step, command) in enumerate(zip(steps, commands, strict=True), 1):
            place = f"step {number} of {len(steps)}"
            print(f"\n[{place}] {shlex.join(step)}", flush=True)
            process = subprocess.Popen(
                command, env={**os.environ, **environment}, text=True, start_new_session=True
            )
            started.append(process)
            if received:  # before it could be forwarded
                interrupt(started)
            code = process.wait()
            if received:
                print(f"\n{place}: stopped by {received[0]}; {_RESUME}", file=sys.stderr)
                return 128 + signal.Signals[received[0]]
            if code:
                problem = f"{place}, {step[0]}, failed: {_reason(code)}; see its last lines"
                print(f"\nerror: {problem}. Once that is fixed, {_RESUME}", file=sys.stderr)
                return code if code > 0 else 128 - code
    return 0


def _reason(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    return f"ended by {signal.Signals(-code).name}"
