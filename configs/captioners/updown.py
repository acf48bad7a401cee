"""Up-down: one LSTM decides where to look, a second what to say (Anderson et al. 2018).

    r2m-train-captioner --config=updown:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/updown

The records have a grid (`--backbone --store_grid`) or regions (`--features`), which
r2m-build-captions makes.
`r2m-recipe flickr8k-captioners DATA WORKSPACE updown` does both and scores the captions.
It reaches CIDEr 0.406, BLEU-4 0.181 and METEOR 0.180 on dev (RESULTS.md), after 22 minutes of
training on two slow cores.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.captioners import base


def get_config(arg: str | None = None) -> ConfigDict:
    """The published settings, or those of `base.get_config` for `arg`."""
    return base.get_config("updown", arg)
