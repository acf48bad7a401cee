"""Att2in: attention enters the candidate of a maxout LSTM only (Rennie et al. 2017).

    r2m-train-captioner --config=att2in:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/att2in

The records have a grid (`--backbone --store_grid`) or regions (`--features`), which
r2m-build-captions makes. It was not trained on real data here; its successor is att2in2.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.captioners import base


def get_config(arg: str | None = None) -> ConfigDict:
    """The published settings, or those of `base.get_config` for `arg`."""
    return base.get_config("att2in", arg)
