"""Order0: order embedding by the sum of hinges (Vendrov et al. 2016; Faghri et al. 2018).

    r2m-train-retrieval --config=order0:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/order0

The order similarity treats a sentence as more general than its image: no component of its vector
should exceed that of the image. To build the published data:
`r2m-build-captions --vocabulary_rule=vsepp --captions=vsepp:FOLDER`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common
from configs import retrieval_sections as sections


def get_config(arg: str | None = None) -> ConfigDict:
    """Returns the published settings, or a smaller size.

    Args:
        arg: None for the published settings, or one of `retrieval_sections.SIZES`.

    Raises:
        ValueError: an unknown argument.
    """
    common.check_argument(arg, *sections.SIZES)
    config = sections.preset(
        "order0",
        data=sections.data(batching="shuffled", start_marker=True),
        loss=sections.loss(margin=0.05, hinges="sum"),
        stage={"learning_rate": 1e-3, "steps": "30 epochs", "evaluate_every": "1 epochs"},
        model={"absolute": True, "similarity": "order"},
        training={"optimizer": "adam"},
        schedule={"name": "step", "decay_every": "15 epochs", "decay_rate": 0.1},
    )
    if arg is not None:
        sections.train_at_size(config, arg)
    return config
