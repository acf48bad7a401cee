"""Running the Java programs that pycocoevalcap brings along: found, timed and always ended."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

UTF8 = "-Dfile.encoding=UTF-8"
"""Java before 18 reads and writes in the locale's encoding, which may be ASCII."""


class Unavailable(RuntimeError):
    """A metric cannot be computed on this machine or for this data; the message says why."""


class JavaError(Unavailable):
    """A Java program is missing, failed, or did not answer in time. The message says which."""


def jar(*parts: str) -> Path:
    """The path of a file inside the installed pycocoevalcap, e.g. `jar("meteor", "x.jar")`.

    Raises:
        JavaError: pycocoevalcap is not installed, or has no such file.
    """
    spec = importlib.util.find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise JavaError("pycocoevalcap is not installed (pip install pycocoevalcap)")
    path = Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)
    if not path.is_file():
        raise JavaError(f"pycocoevalcap has no file {'/'.join(parts)}")
    return path


def java() -> str:
    """The `java` program on the path.

    Raises:
        JavaError: there is none.
    """
    found = shutil.which("java")
    if found is None:
        raise JavaError("Java is not installed (no `java` on the PATH)")
    return found


def run_java(arguments: Sequence[str], *, text: str = "", timeout: float) -> str:
    """Runs `java` to its end and returns what it printed.

    Args:
        arguments: everything after `java`.
        text: given to it on standard input.
        timeout: seconds after which it is killed.

    Raises:
        JavaError: no Java, a non-zero exit (with its last words), or no end in time.
    """
    command = [java(), UTF8, *arguments]
    try:
        done = subprocess.run(
            command, input=text.encode("utf-8"), capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise JavaError(f"{program(arguments)} did not finish in {timeout:g} s") from error
    except OSError as error:
        raise JavaError(f"{program(arguments)} could not be started: {error}") from error
    if done.returncode != 0:
        raise JavaError(
            f"{program(arguments)} ended with exit code {done.returncode}: {last_line(done.stderr)}"
        )
    return done.stdout.decode("utf-8")


def program(arguments: Sequence[str]) -> str:
    """What to call a Java program in a message: the name of its jar."""
    return next((Path(a).name for a in arguments if a.endswith(".jar")), "java")


def last_line(output: bytes) -> str:
    """The last line that a failing program printed, where its reason usually is."""
    lines = output.decode("utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed no reason"
