"""Flags shared by the scripts that build records."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags

from r2m.cli.common import home

if TYPE_CHECKING:
    from tfrecords.runners import Runner

_SHARED = ("shards", "seed", "overwrite", "strict")


def define_build_flags(kind: str, *, split: str, ordered: bool = False) -> None:
    """Where records go and how they are written.

    Args:
        kind: of the records.
        split: what --shards counts the files of.
        ordered: the records keep the order of their sources: there is no seed to choose.
    """
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
    if not ordered:
        flags.DEFINE_integer("seed", 0, "Decides the order of the records.")
    flags.DEFINE_integer("shards", 8, f"Number of files of {split}.")
    flags.DEFINE_integer("workers", os.cpu_count() or 1, "Processes; no change in the records.", 1)
    flags.DEFINE_string(
        "runner",
        None,
        "Apache Beam runner that does the work instead: DirectRunner, FlinkRunner, SparkRunner, "
        "DataflowRunner. Needs the extra [beam]; all machines must see the same folders.",
    )
    flags.DEFINE_multi_string(
        "beam_options", [], "Option of the Beam pipeline, e.g. --direct_num_workers=4; repeatable."
    )
    flags.DEFINE_bool("overwrite", False, "Replace a finished folder that was built differently.")
    flags.DEFINE_bool(
        "strict", False, "An input that cannot be used is an error; else it is skipped and listed."
    )


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
    shared = {flag: flags.FLAGS[flag].value for flag in _SHARED if flag in flags.FLAGS}
    return {"name": name or fallback, "folder": folder, "runner": _runner(), **shared}


def _runner() -> Runner:
    from tfrecords.runners import Beam, Local

    given: dict[str, Any] = {n: flags.FLAGS[n].value for n in ("runner", "beam_options", "workers")}
    if given["runner"]:
        return Beam(given["runner"], tuple(given["beam_options"]))
    if given["beam_options"]:
        raise app.UsageError("--beam_options are for a Beam --runner, which is not given")
    return Local(given["workers"])
