"""Name, arguments and version of the command that this process runs."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import sys
from pathlib import Path

PREFIX = "r2m-"
_MODULES = "r2m.cli."
# Reported with the version of R2M, without being imported.
_LIBRARIES = ("tensorflow", "keras")

# Number of words of `sys.argv` that name the command: two for `r2m COMMAND`.
_naming_words = 1


def named_by_two_words() -> None:
    """Records that the command is the second word of the command line, as in `r2m COMMAND`."""
    global _naming_words
    _naming_words = 2


def program() -> str:
    """Returns the name of the command for messages: `r2m-caption`, or `r2m caption`."""
    spec = sys.modules["__main__"].__spec__  # of `python -m`
    if spec is not None and spec.name.startswith(_MODULES):
        name = PREFIX + spec.name.removeprefix(_MODULES).replace("_", "-")
        name = "r2m" if _naming_words > 1 else name
    else:
        name = Path(sys.argv[0]).name
    return " ".join([name, *sys.argv[1:_naming_words]])


def arguments() -> list[str]:
    """Returns the words of the command line after the name of the command."""
    return sys.argv[_naming_words:]


def command_line() -> str:
    """Returns the command that started this process, for a shell."""
    spec = sys.modules["__main__"].__spec__
    start = [sys.executable, "-m", spec.name] if spec is not None else [sys.argv[0]]
    return shlex.join([*start, *sys.argv[1:]])


def version_line() -> str:
    """Returns the versions of R2M, of its main dependencies and of Python, in one line."""
    versions = {name: found for name in ("r2m", *_LIBRARIES) if (found := _version(name))}
    ours = versions.pop("r2m", "(not installed)")
    others = {**versions, "python": platform.python_version()}
    return f"r2m {ours} ({', '.join(f'{name} {found}' for name, found in others.items())})"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
