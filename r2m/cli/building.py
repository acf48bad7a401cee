"""Flags shared by the scripts that build records."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from absl import app, flags

from r2m.cli.common import home

_SHARED = ("shards", "workers", "seed", "overwrite")


def define_build_flags(kind: str, *, split: str) -> None:
    """Where records go and how they are written; `split` says what --shards counts the files of."""
    flags.DEFINE_string(
        "name",
        None,
        "Short name of the records (a-z, 0-9, _), for file names and reports. Default: the last "
        "part of --output.",
    )
    flags.DEFINE_string(
        "output",
        None,
        f"Folder of the records. Default: records/{kind}/NAME under $R2M_HOME, or under "
        "./workspace.",
    )
    flags.DEFINE_integer("seed", 0, "Decides the order of the records.")
    flags.DEFINE_integer("shards", 8, f"Number of files of {split}.")
    flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes; no change in the records.")
    flags.DEFINE_bool("overwrite", False, "Replace a finished folder that was built differently.")


def build_options(kind: str) -> dict[str, Any]:
    """The values of these flags, named as the fields of the options of a build.

    Raises:
        UsageError: neither a name nor a folder is given.
    """
    name, output = flags.FLAGS["name"].value, flags.FLAGS["output"].value
    if not (name or output):
        raise app.UsageError(f"give the {kind} records a --name, or an --output folder")
    folder = Path(output or home() / "records" / kind / str(name))
    # A folder may be called anything, shards may not.
    words = re.findall(r"[a-z0-9]+", folder.resolve().name.lower())
    fallback = "_".join(words).lstrip("0123456789_") or kind
    shared = {flag: flags.FLAGS[flag].value for flag in _SHARED}
    return {"name": name or fallback, "folder": folder, **shared}
