"""Deprecated flags, hidden from `--help`; each warns and names its replacement."""

from __future__ import annotations

from typing import Any

from absl import flags, logging

# Each sets the field of `config.training` with the same name.
_TEXTS, _SWITCHES = ("strategy", "precision", "data_service"), ("jit",)
# `r2m.cli.help` hides flags whose help begins with these words.
_HELP = "Alias for --config.training.{}."

_FLAGS: list[flags.FlagHolder[Any]] = [
    *(flags.DEFINE_string(name, None, _HELP.format(name)) for name in _TEXTS),
    *(flags.DEFINE_bool(name, None, _HELP.format(name)) for name in _SWITCHES),
]


def set_former_flags(training: Any) -> None:
    """Sets the fields of `config.training` whose former flags are given, with a warning each."""
    for flag in _FLAGS:
        if flag.value is not None:
            logging.warning(
                "--%s is deprecated and will be removed in the next version: use "
                "--config.training.%s=%s",
                flag.name, flag.name, flag.value,
            )  # fmt: skip
            training[flag.name] = flag.value
