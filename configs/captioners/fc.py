"""FC: the image's vector goes through a maxout LSTM before the first word (Rennie et al. 2017).

    r2m-train-captioner --config=fc:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/fc

The records have vectors, which r2m-build-captions makes (`--backbone`).
`r2m-recipe flickr8k-captioners DATA WORKSPACE fc` does both and scores the captions.
It reaches CIDEr 0.266, BLEU-4 0.139 and METEOR 0.159 on dev (RESULTS.md), after 7 minutes of
training on two cores.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.captioners import base


def get_config(arg: str | None = None) -> ConfigDict:
    """The published settings, or those of `base.get_config` for `arg`."""
    return base.get_config("fc", arg)
