"""A plain recurrent network that begins with the averaged grid (Vinyals et al. 2015).

    r2m-train-captioner --config=rnn:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/rnn

The records have a grid, which r2m-build-captions makes (`--backbone --store_grid`).
`r2m-recipe flickr8k-captioners DATA WORKSPACE rnn` does both and scores the captions.
It reaches CIDEr 0.252, BLEU-4 0.134 and METEOR 0.152 on dev (RESULTS.md), after 5 minutes of
training on two cores.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.captioners import base


def get_config(arg: str | None = None) -> ConfigDict:
    """The course's settings, or those of `base.get_config` for `arg`."""
    return base.course("rnn", arg)
