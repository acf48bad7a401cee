"""Check that R2M imports its own packages, not others of the same names."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path

# Installed together with `r2m`.
NAMES = ("configs", "losses", "models", "pipelines", "tfrecords")


def hidden_packages() -> str | None:
    """Returns a message that names other packages that hide R2M's; None if there are none.

    Python imports the first one on its path, which starts with the current folder (`python -m`) and
    $PYTHONPATH. This function imports none of them.
    """
    root = Path(__file__).resolve().parents[1]
    hidden = {name: found for name in NAMES if (found := _found(name)) not in (None, root / name)}
    if not hidden:
        return None
    pairs = "\n".join(f"  {found} hides {root / name}" for name, found in hidden.items())
    hint = _advice({found.parent for found in hidden.values() if found is not None})
    return f"Python finds other packages with the names of R2M's packages:\n{pairs}\n{hint}"


def _found(name: str) -> Path | None:
    """Returns the folder or file that `import name` would import, or None."""
    try:
        spec: ModuleSpec | None = importlib.util.find_spec(name)
    except ValueError:  # already imported without a record of its location
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin else None


def _advice(folders: Iterable[Path]) -> str:
    listed = os.environ.get("PYTHONPATH")
    on_path = {Path(entry).resolve() for entry in listed.split(os.pathsep)} if listed else set()
    remedies = []
    for folder in sorted(folders):
        if folder in on_path:
            remedies.append(f"remove {folder} from PYTHONPATH")
        elif folder == Path.cwd():
            remedies.append(
                f"start the command in another folder than {folder}, or as r2m-NAME instead of "
                "`python -m`"
            )
        else:  # site-packages
            remedies.append(
                f"uninstall the package that put it into {folder}, or install r2m in a separate "
                "environment"
            )
    return f"{'; '.join(remedies)}; or rename these packages."
