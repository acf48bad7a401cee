"""Show, attend and tell: an LSTM that looks at the grid before each word (Xu et al. 2015).

    r2m-train-captioner --config=attention_lstm:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/attention_lstm

The records have a grid, which r2m-build-captions makes (`--backbone --store_grid`).
`r2m-recipe flickr8k-captioners DATA WORKSPACE attention_lstm` does both and scores the captions.
It reaches CIDEr 0.355, BLEU-4 0.167 and METEOR 0.173 on dev (RESULTS.md), after 11 minutes of
training on two cores.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.captioners import base


def get_config(arg: str | None = None) -> ConfigDict:
    """The course's settings, or those of `base.get_config` for `arg`."""
    return base.course("attention_lstm", arg)
