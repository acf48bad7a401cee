"""Run the Java programs of pycocoevalcap: one locale, one encoding, a time limit, clear errors.

METEOR writes numbers and changes case as the locale of the machine says, and then cannot read its
own numbers where the decimal mark is a comma. Every Java program here is started by `launch`, in
US English and UTF-8 whatever the environment says.
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
# differ from the plain one on macOS and Windows. The empty ones undo a script (`sr_RS@latin`), a
# variant or other digits.
_LOCALE = {"language": "en", "country": "US", "script": "", "variant": "", "extensions": ""}
_ENCODINGS = ("file", "stdin", "stdout", "stderr", "sun.stdout", "sun.stderr")
_PROPERTIES = (
    *(
        f"-Duser.{name}{category}={value}"
        for category in ("", ".format", ".display")
        for name, value in _LOCALE.items()
    ),
    # Java 17 and earlier take the locale's encoding for files; later ones for standard streams.
    *(f"-D{name}.encoding=UTF-8" for name in _ENCODINGS),
)
# Of the virtual machine: its complaints go to standard error, and the report of a crash not into
# the folder that a command is started in.
_MACHINE = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-XX:+DisplayVMOutputToStderr",
    f"-XX:ErrorFile={Path(tempfile.gettempdir(), 'java_error_%p.log')}",
)
# Java appends these options to those of the command line and so they win.
_OVERRIDING = "_JAVA_OPTIONS"

CRASH = "#"
"""Start of the lines of a crash report. In spite of `_MACHINE` some go to standard output."""
# Lines that do not say why a program failed.
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
"""Return code of a process that SIGKILL ended: the system does that when memory runs out."""


class Unavailable(RuntimeError):
    """A metric cannot be computed on this machine or for this data; the message says why."""


class JavaError(Unavailable):
    """A Java program is missing, failed, or did not answer in time. The message says which."""


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
        JavaError: there is none.
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
        stderr: where its standard error goes, as `subprocess.Popen` takes it.
        cwd: the folder to start it in; None for the current one.

    Raises:
        JavaError: no Java, or it cannot be started.
    """
    # For the names of files, which no property can set. Ignored by systems that lack this locale.
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
        text: given to it on standard input.
        timeout: seconds after which it is killed.

    Raises:
        JavaError: no Java, a non-zero exit (with its reason), or no end in time.
    """
    with launch(arguments, stderr=subprocess.PIPE) as process:
        try:
            # JSON can spell half of a surrogate pair, which UTF-8 cannot.
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
    """Returns what to call a Java program in a message: the name of its jar."""
    return next((Path(a).name for a in arguments if a.endswith(".jar")), "java")


def failure(
    arguments: Sequence[str], errors: bytes, code: int | None, output: bytes = b""
) -> JavaError:
    """Returns the error for a program that failed, with its reason in one line.

    Args:
        arguments: everything after `java`.
        errors: what it wrote to standard error: a stack trace, or the virtual machine's report.
        code: its return code; None where it did not end by itself.
        output: what it wrote to standard output, or the end of it.

    Returns:
        An error with the first line of the exception, else with the one about memory, else with the
        last line that is no chatter; and with what to do where memory ran out.
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
    heap = next((f" (it takes up to {a[4:]}B)" for a in arguments if a.startswith("-Xmx")), "")
    limit = os.environ.get(_OVERRIDING, "")
    where = (
        f"in {_OVERRIDING}={limit!r}" if "-X" in limit else "of this container or of `ulimit -v`"
    )
    return JavaError(f"{message}. Memory ran out{heap}: raise the limit {where}")
