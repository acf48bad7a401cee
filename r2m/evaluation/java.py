"""Execution of pycocoevalcap's Java programs: one locale, one encoding, a time limit, clear errors.

METEOR formats numbers and changes case by the locale of the machine, and cannot read its own
numbers if the decimal mark is a comma. `launch` starts every Java program in US English and UTF-8,
independent of the environment.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

# Java 7 and later have a locale for numbers (`.format`) and one for messages (`.display`), which
# differ from the plain one on macOS and Windows. The empty properties undo a script
# (`sr_RS@latin`), a variant or other digits.
_LOCALE = {"language": "en", "country": "US", "script": "", "variant": "", "extensions": ""}
_ENCODINGS = ("file", "stdin", "stdout", "stderr", "sun.stdout", "sun.stderr")
_PROPERTIES = (
    *(
        f"-Duser.{name}{category}={value}"
        for category in ("", ".format", ".display")
        for name, value in _LOCALE.items()
    ),
    # Java 17 and earlier use the locale's encoding for files, later ones for standard streams.
    *(f"-D{name}.encoding=UTF-8" for name in _ENCODINGS),
)
# Options of the virtual machine: its messages go to standard error, and crash reports are not
# written to the working directory.
_MACHINE = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-XX:+DisplayVMOutputToStderr",
    f"-XX:ErrorFile={Path(tempfile.gettempdir(), 'java_error_%p.log')}",
)
# Java appends these options to those of the command line, so they take precedence.
_OVERRIDING = "_JAVA_OPTIONS"

CRASH = "#"
"""Start of the lines of a crash report. Despite `_MACHINE`, some go to standard output."""
# Lines that do not contain the reason of a failure.
_CHATTER = re.compile(
    r"Picked up |at |\.\.\. \d+ more|Error occurred during initialization of VM"
    r"|Error: Could not create the Java Virtual Machine|Error: A fatal exception has occurred"
)
_EXCEPTION = re.compile(
    r"(?:Exception in thread \S+ )?((?:[\w$]+\.)+[\w$]*(?:Exception|Error)\b.*)"
)
_OUT_OF_MEMORY = re.compile(
    r"OutOfMemoryError|insufficient memory|Could not (?:reserve|allocate)|Not enough space"
    r"|Cannot allocate memory|maximum heap",
    re.IGNORECASE,
)
_KILLED = -9
"""Return code of a process killed by SIGKILL, which the system sends when memory runs out."""


class Unavailable(RuntimeError):
    """A metric that cannot be computed here or for this data, for the reason in the message."""


class JavaError(Unavailable):
    """A Java program that is missing, failed or timed out, for the reason in the message."""


def jar(*parts: str) -> Path:
    """Returns the path of a file inside the installed pycocoevalcap.

    Args:
        parts: parts of the path, e.g. `"meteor", "meteor-1.5.jar"`.

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
    """Returns the path of the `java` program.

    Raises:
        JavaError: Java is not installed.
    """
    found = shutil.which("java")
    if found is None:
        raise JavaError("Java is not installed (no `java` on the PATH)")
    return found


def launch(
    arguments: Sequence[str], *, stderr: int | IO[bytes], cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Starts `java` in US English and UTF-8, with pipes to its standard input and output.

    Args:
        arguments: everything after `java`.
        stderr: destination of its standard error, see `subprocess.Popen`.
        cwd: its working directory; None for the current one.

    Raises:
        JavaError: Java is not installed, or cannot be started.
    """
    # For the encoding of file names, which no property can set. Systems without this locale ignore
    # it.
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    if _OVERRIDING in environment:
        environment[_OVERRIDING] = " ".join([environment[_OVERRIDING], *_PROPERTIES])
    try:
        return subprocess.Popen(
            [java(), *_PROPERTIES, *_MACHINE, *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    except OSError as error:
        raise JavaError(f"{program(arguments)} could not be started: {error}") from error


def run_java(arguments: Sequence[str], *, text: str = "", timeout: float) -> str:
    """Runs `java` to its end and returns what it printed.

    Args:
        arguments: everything after `java`.
        text: standard input of the program.
        timeout: seconds after which it is killed.

    Raises:
        JavaError: Java is not installed, the program failed (with its reason), or did not end in
            time.
    """
    with launch(arguments, stderr=subprocess.PIPE) as process:
        try:
            # JSON can encode half of a surrogate pair, UTF-8 cannot.
            data = text.encode("utf-8", errors="replace")
            output, errors = process.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise JavaError(f"{program(arguments)} did not finish in {timeout:g} s") from error
        finally:
            process.kill()
    if process.returncode != 0:
        raise failure(arguments, errors, process.returncode, output)
    return output.decode("utf-8")


def program(arguments: Sequence[str]) -> str:
    """Returns the name of a Java program for messages: the name of its jar."""
    return next((Path(a).name for a in arguments if a.endswith(".jar")), "java")


def failure(
    arguments: Sequence[str], errors: bytes, code: int | None, output: bytes = b""
) -> JavaError:
    """Returns the error for a program that failed, with its reason in one line.

    Args:
        arguments: everything after `java`.
        errors: its standard error: a stack trace, or the virtual machine's report.
        code: its return code; None if it did not end by itself.
        output: its standard output, or the end of it.

    Returns:
        An error with the first line of the exception, else the line about memory, else the last
        informative line, and with advice if memory ran out.
    """
    lines = [
        line.strip(f" \t{CRASH}")
        for source in (output, errors)
        for line in source.decode("utf-8", errors="replace").splitlines()
        if source is errors or line.startswith(CRASH)
    ]
    lines = [line for line in lines if line and not _CHATTER.match(line)]
    exceptions = [match[1] for line in lines if (match := _EXCEPTION.match(line))]
    of_memory = [line for line in lines if _OUT_OF_MEMORY.search(line)]
    reason = (exceptions or of_memory or lines[-1:] or ["it printed no reason"])[0].rstrip(".")
    if code is not None and code < 0:
        reason = f"{reason} (ended by signal {-code})"
    message = f"{program(arguments)} failed: {reason}"
    if not of_memory and code != _KILLED:
        return JavaError(message)
    heap = next((f" (it uses up to {a[4:]}B)" for a in arguments if a.startswith("-Xmx")), "")
    limit = os.environ.get(_OVERRIDING, "")
    where = (
        f"in {_OVERRIDING}={limit!r}" if "-X" in limit else "of this container or of `ulimit -v`"
    )
    return JavaError(f"{message}. Memory ran out{heap}: raise the limit {where}")
