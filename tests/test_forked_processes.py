"""Forked processes behave like new processes of the interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from forked_processes import ForkedProcess, run_forked

PRINTS = """\
import os, sys
print(__name__, sys.argv, os.getcwd(), os.environ.get("OWN"), os.environ.get("GONE"))
print("error", file=sys.stderr)
print(sys.stdin.read() == "", sys.modules["__main__"].__spec__ is None)
"""


@pytest.mark.parametrize(
    "end", ["", "sys.exit(3)", "sys.exit('a message')", "os.kill(os.getpid(), 9)"]
)
@pytest.mark.parametrize("start", [["-c"], ["-m", "a_module"], ["a_module.py"]], ids=" ".join)
def test_a_command_has_the_same_results(start: list[str], end: str, tmp_path: Path) -> None:
    code = f"{PRINTS}\nsys.stdout.flush()\n{end}\n"
    (tmp_path / "a_module.py").write_text(code)
    command = [sys.executable, *start, *([code] if start == ["-c"] else []), "--flag", "two words"]
    environment = {**os.environ, "OWN": "1"}
    environment.pop("GONE", None)
    found = run_forked(command, cwd=tmp_path, env=environment)
    wanted = subprocess.run(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert wanted.stdout
    assert (found.returncode, found.stdout, found.stderr) == (
        wanted.returncode, wanted.stdout, wanted.stderr,
    )  # fmt: skip


def test_an_exception_and_a_signal_end_a_process(tmp_path: Path) -> None:
    failed = run_forked([sys.executable, "-c", "raise ValueError('bad')"], cwd=tmp_path)
    assert failed.returncode == 1 and failed.stderr.endswith("\nValueError: bad\n")
    with pytest.raises(subprocess.CalledProcessError):
        run_forked([sys.executable, "-c", "raise SystemExit(2)"], cwd=tmp_path, check=True)
    process = ForkedProcess([sys.executable, "-c", "import time; time.sleep(60)"], cwd=tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


def test_flags_and_devices_are_those_of_the_process_alone(tmp_path: Path) -> None:
    """Two commands with the same flags, and TensorFlow with one device and its optimizer."""
    code = (
        "import sys, r2m.cli.evaluate, tensorflow as tf; from absl import flags; "
        "print('tensorflow' in sys.modules, len(tf.config.list_logical_devices('CPU')), "
        "tf.config.optimizer.get_experimental_options()['disable_meta_optimizer'], "
        "'records' in flags.FLAGS)"
    )
    for _ in range(2):
        done = run_forked([sys.executable, "-c", code], cwd=tmp_path)
        assert done.stdout == "True 1 False True\n", done
