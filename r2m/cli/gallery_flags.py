"""Flags of commands that write a gallery."""

from __future__ import annotations

from typing import Any

from absl import flags

from r2m.cli.flag_groups import OUTPUT
from r2m.cli.value_flags import define_switch


def define_single_file() -> flags.FlagHolder[Any]:
    """Defines --single_file; returns the flag."""
    return define_switch(
        "single_file",
        False,
        "Write the gallery as one file, index.html, that contains all pictures. "
        "Without it, pictures are files in index.files, which the page loads when they are "
        "scrolled into view.",
        group=OUTPUT,
    )


def define_attention() -> flags.FlagHolder[Any]:
    """Defines --attention; returns the flag."""
    return define_switch(
        "attention",
        False,
        "Show in the gallery the attention of a captioner over a grid for the word "
        "under the pointer. The images of the gallery are read and encoded a second time.",
        group=OUTPUT,
    )
