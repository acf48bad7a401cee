"""Start, end and errors of every command.

Scripts import modules that need TensorFlow in `main`, so that `--help` is fast.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import platform
import select
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from r2m.cli import program
from r2m.cli.flag_groups import OTHER
from r2m.cli.help import Command
from r2m.cli.log_lines import use_short_lines
from r2m.cli.native_notes import HIDDEN_LEVEL, LEVEL_VARIABLE, SHOWN_LEVEL, hiding_native_notes
from r2m.cli.terminal_text import terminal_text
from r2m.cli.usage import print_mistake, read_flags
from r2m.cli.value_flags import define_switch

# TensorFlow reads these when it is imported, so scripts import this module first.
os.environ.setdefault(LEVEL_VARIABLE, HIDDEN_LEVEL)
if platform.machine() in ("x86_64", "AMD64"):
    # By default TensorFlow uses oneDNN only on processors with AVX-512 and VNNI. On older
    # processors, convolutional networks are up to 1.7 times faster with it, and everything else is
    # as fast.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# In worker processes: contains the command to resume with.
COMMAND_VARIABLE = "R2M_COMMAND"
# Part of the message of `assert_cardinality` of tf.data.
_MISCOUNTED = "dataset was expected to contain"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def run(
    main: Callable[[Sequence[str]], int | None],
    description: str | None = None,
    *,
    arguments: str = "",
    uses_tensorflow: bool = True,
) -> None:
    """Runs `main` under absl; bad input ends in one readable message and exit code 1.

    Training that was stopped by SIGTERM or SIGINT has saved its state: the exit code is 0, and the
    command that resumes it is printed. Output that cannot be written ends the script without a
    traceback.

    Args:
        main: receives the positional arguments and returns an exit code (None is 0).
        description: text of `--help` without the flags (`r2m.cli.help.Command`); by default
            main's module docstring.
        arguments: positional arguments, for `--help`: "IMAGE ...". Empty: none.
        uses_tensorflow: whether TensorFlow may be imported; if so, its notes are filtered.
    """
    logging.set_verbosity(logging.INFO)
    use_short_lines()
    print_any_text()
    _warn_of_locale()
    command = Command(description or sys.modules[main.__module__].__doc__ or "", arguments)
    verbose = _define_verbose() if uses_tensorflow else None

    def checked(argv: Sequence[str]) -> int | None:
        if verbose is None:
            return exit_code(main, argv)
        if verbose.value:
            os.environ[LEVEL_VARIABLE] = SHOWN_LEVEL
        with hiding_native_notes():
            return exit_code(main, argv)

    with writable_output():
        app.run(
            checked,
            argv=[program.program(), *program.arguments()],
            flags_parser=lambda argv: read_flags(argv, command),
        )


def _define_verbose() -> flags.FlagHolder[Any]:
    return define_switch(
        "verbose",
        False,
        "Also show the notes of TensorFlow's C++ code (CPU features, missing GPU). They are not "
        "errors; its errors are always shown.",
        group=OTHER,
    )


@contextlib.contextmanager
def writable_output() -> Iterator[None]:
    """Ends the process if its output cannot be written.

    If the reader of a pipe has ended (`| head`), the process ends silently with exit code 141, as
    in shells. If the disk is full, it ends with a message and exit code 1.
    """
    try:
        try:
            yield
        finally:
            for stream in _outputs():
                stream.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError) and any(map(_has_lost_its_reader, _outputs())):
            code = 141
        elif error.filename is None and error.errno in _FULL:
            code = 1
            with contextlib.suppress(OSError):
                print(f"\nerror: cannot write: {error.strerror}; make room", file=sys.stderr)
        else:
            raise
        # Buffered output cannot be written either, and Python would try again when it ends.
        for stream in _outputs():
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(code)


def _outputs() -> list[io.TextIOWrapper]:
    """Returns standard output and standard error, without closed ones."""
    return [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper)]


def _has_lost_its_reader(stream: io.TextIOWrapper) -> bool:
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def print_any_text() -> None:
    """Prints characters that cannot be encoded as `\\xe9`, instead of ending the command.

    Captions and file names contain any character, but a terminal or pipe may accept ASCII only.
    """
    for stream in _outputs():
        stream.reconfigure(errors="backslashreplace")


def _warn_of_locale() -> None:
    """Warns if Python decodes file names with an encoding other than UTF-8."""
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        logging.warning(
            "this locale decodes names of files and folders as %s: names that are not ASCII "
            "are misread. Set PYTHONUTF8=1 or a UTF-8 locale",
            encoding,
        )


def exit_code(main: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int | None:
    """Returns the exit code of `main`; prints an error that it raises and returns its code."""
    from r2m.engine.errors import TrainingError, TrainingInterrupted
    from tfrecords.core.errors import InputError

    try:
        return main(argv)
    except app.UsageError as error:
        return print_mistake(str(error))
    except TrainingInterrupted as stop:
        print(f"\n{stop}. To resume:\n{this_command()}", file=sys.stderr)
        return 0
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130  # as in shells
    except (InputError, TrainingError) as error:
        print(terminal_text(f"\nerror: {error}"), file=sys.stderr)
    except OSError as error:
        if error.filename is None:
            raise
        print(terminal_text(f"\nerror: {_path_problem(error)}"), file=sys.stderr)
    except Exception as error:
        if (damage := _record_damage(error)) is None:
            raise
        print(f"\nerror: {damage}", file=sys.stderr)
    return 1


def _path_problem(error: OSError) -> str:
    """Returns the message for a path that cannot be read or written."""
    path = os.fsdecode(error.filename)
    if isinstance(error, FileExistsError):
        return f"{path} is a file, expected a folder; give another path"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, expected a file; give another path"
    hint = "make room" if error.errno in _FULL else "give another path, or change its permissions"
    return f"{path}: {error.strerror}; {hint}"


def _record_damage(error: Exception) -> str | None:
    """Returns the message for a damaged record file; None for any other error."""
    if "tensorflow" not in sys.modules:  # not imported only for this, because it takes seconds
        return None
    import tensorflow as tf

    from r2m.engine.errors import plain_message
    from tfrecords.core.records import MISCOUNTED_BOXES, opened_folders

    # Kind of error -> a part of its message.
    damages = {
        tf.errors.DataLossError: "",
        tf.errors.FailedPreconditionError: _MISCOUNTED,
        tf.errors.InvalidArgumentError: MISCOUNTED_BOXES,
    }
    message = str(getattr(error, "message", ""))
    if not any(isinstance(error, kind) and part in message for kind, part in damages.items()):
        return None
    # The folder of records that are read without their manifest is not known here.
    folders = [shlex.quote(str(folder)) for folder in opened_folders()] or ["FOLDER"]
    checks = " or ".join(f"r2m-inspect {folder} --verify" for folder in folders)
    return (
        f"a record file is damaged: {plain_message(message)}; to find it, run {checks}. Build "
        "those records again with --overwrite"
    )


def this_command() -> str:
    """Returns the command that started this process (in a worker: all workers), for a shell."""
    if COMMAND_VARIABLE in os.environ:
        return os.environ[COMMAND_VARIABLE]
    return program.command_line()


def home() -> Path:
    """Returns the working directory of commands without a named folder."""
    return Path(os.environ.get("R2M_HOME", "workspace"))
