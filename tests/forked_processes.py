"""Python processes that start with TensorFlow already imported.

Importing the libraries takes most of the time of a short command. `multiprocessing`'s fork server
imports them once, and every process here is forked from it. Otherwise a process is like a new one:
with its own arguments, environment, working directory, outputs, flags and TensorFlow devices.
`test_forked_processes.py` compares them with new processes.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Nothing that defines flags or computes tensors: commands do that after the fork.
_IMPORTED = [
    "r2m.cli.launch",  # first, because it sets variables that TensorFlow reads
    "tensorflow",
    "keras",
    "tensorflow_text",
    "tensorflow_datasets",
    "r2m.api",
    "r2m.shapes_demo",
    "r2m.tasks.captioning.experiment",
    "r2m.tasks.retrieval.experiment",
    "r2m.inference.caption_files",
    "tfrecords.builders.captions.build",
]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_IMPORTED)


class ForkedProcess:
    """A started process, with a part of the interface of `subprocess.Popen`.

    Attributes:
        args: the command.
        pid: number of the process.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Starts a command, whose first word is `sys.executable` or a Python script.

        Args:
            command: `[sys.executable, "-m", MODULE, ...]`, `[sys.executable, "-c", CODE, ...]`,
                `[sys.executable, SCRIPT, ...]` or `[SCRIPT, ...]`.
            cwd: working directory; the current one by default.
            env: environment; the current one by default.
        """
        self.args = list(map(str, command))
        self._outputs = [
            tempfile.NamedTemporaryFile(prefix="r2m-output-")  # noqa: SIM115
            for _ in range(2)
        ]
        started = [output.name for output in self._outputs]
        words = self.args[1:] if self.args[0] == sys.executable else self.args
        folder, variables = str(cwd or Path.cwd()), dict(os.environ if env is None else env)
        self._process = _context.Process(target=_run, args=(words, folder, variables, started))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Returns the exit code, None while the process runs; -N if signal N ended it."""
        return self._process.exitcode

    returncode = property(poll)

    def send_signal(self, number: int) -> None:
        """Sends a signal to the process, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end; returns the texts of standard output and standard error.

        Raises:
            subprocess.TimeoutExpired: the process still runs after `timeout` seconds.
        """
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        texts = [Path(output.name).read_text() for output in self._outputs]
        return texts[0], texts[1]


def run_forked(
    command: Sequence[str],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 280,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, like `subprocess.run` with captured text."""
    process = ForkedProcess(command, cwd=cwd, env=env)
    try:
        outputs = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    done = subprocess.CompletedProcess(process.args, process.returncode, *outputs)
    if check:
        done.check_returncode()
    return done


def _run(
    words: Sequence[str], folder: str, variables: Mapping[str, str], outputs: Sequence[str]
) -> None:
    """Runs a command in this process, as the Python interpreter does."""
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in enumerate(("stdout", "stderr"), 1):
        setattr(sys, name, open(number, "w", buffering=1, closefd=False))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    os.chdir(folder)
    # The tests' own folders are not on the path of a new process.
    paths = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*paths, *(path for path in sys.path if _is_installed(path))]
    try:
        _run_python(words, folder)
    finally:
        # A forked process skips these otherwise; workers of a cluster sign off in them.
        atexit._run_exitfuncs()


def _run_python(words: Sequence[str], folder: str) -> None:
    kind, *arguments = words
    if kind == "-m":
        sys.path.insert(0, folder)
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        return
    # `runpy.run_path` would remove the module again, which a script may need while it ends.
    main: Any = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    if kind == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *arguments[1:]]
        code = compile(arguments[0], "<string>", "exec")
    else:
        sys.path.insert(0, str(Path(kind).parent))
        sys.argv = list(words)
        main.__file__ = kind
        code = compile(Path(kind).read_text(), kind, "exec")
    exec(code, main.__dict__)


def _is_installed(path: str) -> bool:
    """Returns whether a new process of this environment also has an entry of `sys.path`."""
    return path.startswith((sys.prefix, sys.base_prefix)) or "__editable__" in path
