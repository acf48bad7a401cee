"""Flags of the address that a server listens on."""

from __future__ import annotations

from absl import flags

from r2m.cli.flag_groups import MACHINE
from r2m.cli.number_flags import define_whole
from r2m.cli.value_flags import define_text


def define_host() -> flags.FlagHolder[str]:
    """Defines the address; returns the flag."""
    return define_text(
        "host",
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 is all addresses of this machine. By default only programs "
        "on this machine can connect.",
        group=MACHINE,
        value="HOST",
    )


def define_port(default: int) -> flags.FlagHolder[int]:
    """Defines the port; returns the flag."""
    return define_whole(
        "port", default, "Port to listen on; 0 selects a free one.", least=0, most=65_535,
        group=MACHINE,
    )  # fmt: skip
