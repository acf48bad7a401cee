"""r2m-local-workers: a failing worker ends all workers, a signal is sent to all."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Waits for a signal, then prints the command that resumes all workers.
SCRIPT = """\
import json, os, signal, sys, time

def stop(number, _):
    print("saved;", os.environ["R2M_COMMAND"], flush=True)
    sys.exit(0)

if "waiting" not in sys.argv:
    signal.signal(signal.SIGINT, stop)
else:
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
open(f"ready-{index}", "w").close()
while not os.path.exists("ready-0"):
    time.sleep(0.02)
if "failing" in sys.argv and index == 1:
    sys.exit(3)
print("ready", flush=True)
time.sleep(60)
"""


def start(folder: Path, *command: str) -> tuple[list[str], subprocess.Popen[str]]:
    (folder / "script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-m", "r2m.cli.local_workers", "--workers=2", "--", *command]
    process = subprocess.Popen(
        words, cwd=folder, env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return words, process


def test_a_worker_that_fails_ends_all(tmp_path: Path) -> None:
    words, process = start(tmp_path, sys.executable, "script.py", "failing")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("error: worker 1 of 2 ended with exit code 3;")
    # The other worker had time to save.
    assert f"[0] saved; {shlex.join(words)}" in output


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGTERM, ()),
        (signal.SIGINT, ()),
        # A worker that still waits for the others may end in any way.
        (signal.SIGTERM, ("waiting",)),
    ],
)
def test_a_signal_reaches_all(tmp_path: Path, number: signal.Signals, how: tuple[str, ...]) -> None:
    words, process = start(tmp_path, sys.executable, "script.py", *how)
    assert process.stdout is not None
    ready = {process.stdout.readline() for _ in range(2)}
    assert ready == {"[0] ready\n", "[1] ready\n"}
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    *_, told, command = errors.splitlines()
    assert told == f"2 workers: stopped by {number.name}. To resume:"
    assert shlex.split(command) == words
    expected = set() if how else {f"[{index}] saved; {shlex.join(words)}" for index in range(2)}
    assert set(output.splitlines()) == expected


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    _, process = start(tmp_path, "no-such-command")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("error: cannot run no-such-command")
