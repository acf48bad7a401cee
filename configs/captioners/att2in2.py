"""Att2in2: att2in with maps and dropout for rows and words (Rennie et al. 2017).

    r2m-train-captioner --config=att2in2:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/att2in2

The records have a grid (`--backbone --store_grid`) or regions (`--features`), which
r2m-build-captions makes.
`r2m-recipe flickr8k-captioners DATA WORKSPACE att2in2` does both and scores the captions.
It reaches CIDEr 0.371, BLEU-4 0.168 and METEOR 0.172 on dev (RESULTS.md), after 15 minutes of
training on two cores.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.captioners import base


def get_config(arg: str | None = None) -> ConfigDict:
    """The published settings, or those of `base.get_config` for `arg`."""
    return base.get_config("att2in2", arg)
