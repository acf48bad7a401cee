"""Check that the packages that scripts import are ours, not a user's of the same names."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path

import r2m

# Installed beside `r2m`.
NAMES = ("configs", "losses", "models", "pipelines", "tfrecords")


def require_own_packages() -> None:
    """Ends the process with a message and exit code 1 where another package hides one of ours.

    Python takes the first one on its path, which begins with the current folder (`python -m`) and
    $PYTHONPATH. Imports none of them.
    """
    root = Path(next(iter(r2m.__path__))).resolve().parent
    hidden = {name: found for name in NAMES if (found := _found(name)) not in (None, root / name)}
    if not hidden:
        return
    pairs = "\n".join(f"  {found} hides {root / name}" for name, found in hidden.items())
    sys.exit(
        f"\nerror: Python finds other packages under the names of ours:\n{pairs}\n"
        + _cure({found.parent for found in hidden.values() if found is not None})
    )


def _found(name: str) -> Path | None:
    """Returns the folder or file that `import name` would import, or None."""
    try:
        spec: ModuleSpec | None = importlib.util.find_spec(name)
    except ValueError:  # imported already, in a way that does not say from where
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin else None


def _cure(folders: Iterable[Path]) -> str:
    listed = os.environ.get("PYTHONPATH")
    on_path = {Path(entry).resolve() for entry in listed.split(os.pathsep)} if listed else set()
    cures = []
    for folder in sorted(folders):
        if folder in on_path:
            cures.append(f"take {folder} off PYTHONPATH")
        elif folder == Path.cwd():
            cures.append(
                f"start the command in another folder than {folder}, or as r2m-NAME instead of "
                "`python -m`"
            )
        else:  # site-packages
            cures.append(
                f"uninstall what put it into {folder}, or install r2m in an environment of its own"
            )
    return f"{'; '.join(cures)}; or rename what hides ours."
