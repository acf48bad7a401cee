"""Configurations installed with this package, and their names on the command line."""

from __future__ import annotations

from pathlib import Path

import configs
from r2m.configuration.config_fields import FAMILIES
from r2m.engine.value_rules import near
from tfrecords.core.errors import InputError

# Replaces ++ in file names.
_PLUS = "_plus_plus"


def installed_configs() -> dict[str, Path]:
    """Maps `FAMILY/NAME` to the file of every installed configuration, family by family."""
    root = Path(next(iter(configs.__path__)))
    return {
        f"{family.folder}/{file.stem}": file
        for family in FAMILIES
        for file in sorted((root / family.folder).glob("*.py"))
        if file.stem != "__init__"
    }


def find_config(given: str) -> Path:
    """Returns the file of a configuration.

    Args:
        given: path of a file, or `NAME` or `FAMILY/NAME` of an installed configuration. A file that
            exists takes precedence over a configuration of the same name.

    Raises:
        InputError: no such file or name exists.
    """
    path = Path(given)
    if path.is_file():
        return path
    known = installed_configs()
    for name, file in known.items():
        if _is_name(given, name):
            return file
    raise InputError(_not_found(given, list(known)))


def hidden_name(given: str) -> str:
    """Returns a note for a file that hides a configuration of its name, else ""."""
    for name in installed_configs():
        if _is_name(given, name) and Path(given).is_file():
            return f" (this is the file {Path(given).absolute()}; the configuration is {name})"
    return ""


def short_name(name: str) -> str:
    """Returns the `NAME` in `FAMILY/NAME`."""
    return name.rpartition("/")[2]


def _is_name(given: str, name: str) -> bool:
    """Returns whether `given` is the configuration `FAMILY/NAME`: VSE++ is the file vse_plus_plus.

    The name of a Python file cannot contain a plus sign.
    """
    return given.replace("++", _PLUS) in (name, short_name(name))


def list_names() -> str:
    """Returns the names of all installed configurations, by family, for messages."""
    names = list(installed_configs())
    return "; ".join(
        ", ".join(
            short_name(name).replace(_PLUS, "++")
            for name in names
            if name.startswith(f"{family.folder}/")
        )
        + f" ({family.title})"
        for family in FAMILIES
    )


def _not_found(given: str, names: list[str]) -> str:
    """Returns the message for a path or name that does not exist; suggests the nearest name."""
    path = Path(given)
    if path.is_dir():
        return f"a folder, not a configuration; known names: {list_names()}"
    where = "" if path.is_absolute() else f" in {Path.cwd()}"
    problem = f"there is no such file{where}"
    if path.suffix != ".py":
        problem = f"no configuration has this name, and {problem}"
    # The last two parts of a path such as configs/captioners/updown.py make a name.
    stem = "/".join(path.with_suffix("").parts[-2:])
    short = {short_name(name): name for name in names}
    similar = near(path.stem, short) or [short_name(name) for name in near(stem, names)]
    meant = f"; did you mean {similar[0]}?" if similar else ";"
    return f"{problem}{meant} known names: {list_names()}"
