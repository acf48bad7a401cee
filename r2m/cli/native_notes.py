"""Filter for the start-up notes that TensorFlow's C++ code prints.

Notes such as "All log messages before absl::InitializeLog()" or a failed search for a GPU ignore
TF_CPP_MIN_LOG_LEVEL, because they are printed before TensorFlow reads it. They look like failures.
No environment variable removes all of them without changing the computation.

File descriptor 2 therefore becomes a pipe to a small process (this file, run as a script), which
forwards all lines except the notes. Worker processes inherit it. Python's own messages
(`sys.stderr`) keep the original descriptor, so progress bars still detect a terminal. It is a
process, not a thread, so that output of native code just before a crash or `os._exit` still
arrives.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LEVEL_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
HIDDEN_LEVEL = "2"  # notes and warnings are hidden, errors are shown
SHOWN_LEVEL = "0"

_HEADER = re.compile(
    # absl's header, and TensorFlow's older one; the file name distinguishes C++ from Python
    # messages.
    rb"(?:([IWEF])\d{4} \d\d:\d\d:\d+\.\d+ +\d+ |[\d-]{10} [\d:.]+: ([IWEF]) )\S+\.(?:cc|h):\d+\] "
)
_PREAMBLE = b"WARNING: All log messages before absl::InitializeLog() is called"
# Printed as errors although the program continues normally.
_HARMLESS = re.compile(
    rb"Unable to register cu\w+ factory|computation placer already registered"
    rb"|oneDNN supports DT_\w+ only on platforms"
)
_NO_GPU = re.compile(rb"failed call to cuInit")
# Marks the end of a command's output; no text contains it.
_END = b"\0end of the command's messages\0"
# An unfinished line this old, in seconds, is not a note: notes are written in one piece.
_PATIENCE = 0.1


@contextlib.contextmanager
def hiding_native_notes() -> Iterator[None]:
    """Hides TensorFlow's C++ notes inside the context; enter it before TensorFlow is imported.

    Does nothing if TF_CPP_MIN_LOG_LEVEL is 0 or 1, or if standard error is closed or is not
        file descriptor 2.
    """
    stream = sys.stderr
    hides = os.environ.get(LEVEL_VARIABLE, HIDDEN_LEVEL) not in (SHOWN_LEVEL, "1")
    if not (hides and isinstance(stream, io.TextIOWrapper) and stream.fileno() == 2):
        yield
        return
    stream.flush()
    original = os.dup(2)
    try:
        passing_on = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Control-C is for the command; this process ends after it
        )
    except OSError:  # no more processes allowed: show the notes
        os.close(original)
        yield
        return
    assert passing_on.stdin is not None and passing_on.stdout is not None
    os.dup2(passing_on.stdin.fileno(), 2)
    passing_on.stdin.close()
    _redirect(stream, original)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.write(2, _END)
        os.dup2(original, 2)
        stream.flush()
        _redirect(stream, 2)
        os.close(original)
        # Returns once everything is forwarded, although workers may keep the pipe open longer.
        passing_on.stdout.read()
        passing_on.stdout.close()


def _redirect(stream: io.TextIOWrapper, descriptor: int) -> None:
    """Redirects `stream`, which other modules reference, to another descriptor."""
    raw = getattr(stream.buffer, "raw", stream.buffer)  # the latter with PYTHONUNBUFFERED
    assert isinstance(raw, io.FileIO)
    # Python keeps descriptor 2 open here, because it does not own it.
    raw.__init__(descriptor, "w", closefd=False)  # type: ignore[misc]


def is_note(line: bytes, *, has_gpu: bool) -> bool:
    """Returns whether a line of standard error is a note of TensorFlow's C++ code."""
    if line.startswith(_PREAMBLE):
        return True
    header = _HEADER.match(line)
    if header is None:
        return False
    if (header[1] or header[2]) in b"IW":
        return True
    if _HARMLESS.search(line, header.end()):
        return True
    return not has_gpu and _NO_GPU.search(line, header.end()) is not None


def _pass_on() -> None:
    """Copies standard input, without the notes, to standard error until its last writer ends."""
    has_gpu = any(Path("/dev").glob("nvidia[0-9]*"))
    waiting, inside_line, ended = b"", False, False

    def write(text: bytes) -> None:
        # If the reader has ended, writers must not block forever.
        with contextlib.suppress(OSError):
            while text:
                text = text[os.write(2, text) :]

    while not ended:
        if waiting and not select.select([0], [], [], _PATIENCE)[0]:
            write(waiting)
            waiting, inside_line = b"", True
            continue
        block = os.read(0, 1 << 16)
        ended = not block
        waiting += block
        forwarded, end, after = waiting.partition(_END)
        *lines, rest = forwarded.split(b"\n")
        for line in lines:
            if inside_line or not is_note(line, has_gpu=has_gpu):
                write(line + b"\n")
            inside_line = False
        if end or ended:
            if rest and (inside_line or not is_note(rest, has_gpu=has_gpu)):
                write(rest)
            rest, inside_line = after, False
        if end:
            os.close(1)
        waiting = rest


if __name__ == "__main__":
    _pass_on()
