"""Virtual environment with TensorFlow and its requirements only."""

from __future__ import annotations

import importlib.metadata
import re
import sysconfig
import venv
from pathlib import Path

from packaging.requirements import Requirement


def make_tensorflow_environment(folder: Path) -> Path:
    """Creates the environment from links to the installed packages and returns its Python.

    Installing TensorFlow again would take minutes.

    Args:
        folder: folder of the environment, which must not exist yet.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    base = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=base))
    for name in _required("tensorflow"):
        distribution = importlib.metadata.distribution(name)
        # Several distributions may share a package, such as `google`.
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            link = site / top
            if not link.is_symlink():
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())
    return folder / "bin/python"


def _required(first: str) -> set[str]:
    """Returns the installed distributions that a distribution requires, itself included."""
    found: set[str] = set()
    waiting = [first]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found
