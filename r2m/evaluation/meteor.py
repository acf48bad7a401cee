"""METEOR 1.5 (Denkowski and Lavie, 2014), computed by the Java program in pycocoevalcap.

pycocoevalcap's own class blocks forever when the program dies, and again when it is garbage
collected. This module uses the same protocol and options with a watchdog.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from r2m.evaluation import java

_JAR = ("meteor", "meteor-1.5.jar")
_HEAP = "-Xmx2G"
_OPTIONS = ("-stdio", "-l", "en", "-norm")
# Seconds for a failing program to write its stack trace and end by itself.
_LAST_WORDS = 1.0


Score = Callable[[Sequence[str], Sequence[Sequence[str]]], tuple[float, list[float]]]


def meteor(
    candidates: Sequence[str], references: Sequence[Sequence[str]], *, timeout: float = 600.0
) -> tuple[float, list[float]]:
    """Scores tokenized captions.

    Args:
        candidates: N tokenized captions; an empty one scores 0.
        references: N non-empty lists of tokenized references.
        timeout: total time in seconds; loading the paraphrase table takes about ten.

    Returns:
        The corpus score and N scores.

    Raises:
        java.JavaError: Java is not installed, the program died, or it did not respond in time.
    """
    with session(timeout=timeout) as score:
        return score(candidates, references)


@contextmanager
def session(*, timeout: float) -> Iterator[Score]:
    """Starts METEOR once for several sets of captions; for the yielded function see `meteor`.

    Args:
        timeout: seconds from now after which the program is killed.

    Raises:
        java.JavaError: see `meteor`.
    """
    path = java.jar(*_JAR)
    # It searches its paraphrase table relative to its working directory.
    arguments = [_HEAP, "-jar", path.name, "-", "-", *_OPTIONS]
    with tempfile.TemporaryFile() as stderr:
        process = java.launch(arguments, stderr=stderr.fileno(), cwd=path.parent)
        overdue = threading.Event()

        def stop() -> None:
            overdue.set()
            process.kill()

        def score(
            candidates: Sequence[str], references: Sequence[Sequence[str]]
        ) -> tuple[float, list[float]]:
            try:
                return _exchange(process, candidates, references)
            except (OSError, ValueError) as error:
                if overdue.is_set():
                    reason = f"{path.name} did not finish in {timeout:g} s"
                    raise java.JavaError(reason) from error
                code = _end(process)
                stderr.seek(0)
                assert process.stdout is not None
                unread = process.stdout.read()
                raise java.failure(arguments, stderr.read(), code, unread) from error

        watchdog = threading.Timer(timeout, stop)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield score
        finally:
            watchdog.cancel()
            process.kill()
            _close(process)


def _exchange(
    process: subprocess.Popen[bytes], candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, list[float]]:
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None and stdout is not None
    statistics = []
    for candidate, group in zip(candidates, references, strict=True):
        fields = ["SCORE", *(_field(text) for text in group), _field(candidate)]
        statistics.append(_ask(stdin, stdout, " ||| ".join(fields)))
    first = _ask(stdin, stdout, " ||| ".join(["EVAL", *statistics]))
    # One line per image, then one for the corpus.
    scores = [float(first), *(float(stdout.readline()) for _ in candidates)]
    return scores[-1], scores[:-1]


def _field(text: str) -> str:
    """Returns text as a field of the protocol, without line breaks and separators ` ||| `."""
    return " ".join(text.replace("|||", " ").split())


def _ask(stdin: IO[bytes], stdout: IO[bytes], line: str) -> str:
    # JSON can encode half of a surrogate pair, UTF-8 cannot.
    stdin.write(f"{line}\n".encode(errors="replace"))
    stdin.flush()
    answer = stdout.readline()
    if not answer.endswith(b"\n") or answer.startswith(java.CRASH.encode()):
        raise ValueError("the program ended before it returned all scores")
    return answer.decode("utf-8").strip()


def _end(process: subprocess.Popen[bytes]) -> int | None:
    """Ends a failing program; returns its own return code if it had ended by itself, else None."""
    try:
        return process.wait(_LAST_WORDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        try:
            if stream is not None:
                stream.close()
        except OSError:
            # The rest of the input of a dead program.
            continue
    process.wait()
