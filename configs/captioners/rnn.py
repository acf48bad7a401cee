"""rnn."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.captioners import base


def get_config(arg: str | None = None) -> ConfigDict:
    """Published settings."""
    del arg
    return base.get_config("rnn")
