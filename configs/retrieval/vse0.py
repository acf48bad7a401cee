"""VSE0: the ablation of VSE++ with the sum of hinges of a batch (Faghri et al. 2018).

    r2m-train-retrieval --config=vse0:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/vse0

Image vectors are never L2-normalized, as in the published command with `--no_imgnorm`. To build the
published data: `r2m-build-captions --vocabulary_rule=vsepp --captions=vsepp:FOLDER`.
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
        "vse0",
        data=sections.data(batching="shuffled", start_marker=True),
        loss=sections.loss(margin=0.2, hinges="sum"),
        stage={"learning_rate": 2e-4, "steps": "30 epochs", "evaluate_every": "1 epochs"},
        model={"normalize_images": "never"},
        training={"optimizer": "adam"},
        schedule={"name": "step", "decay_every": "15 epochs", "decay_rate": 0.1},
    )
    if arg is not None:
        sections.train_at_size(config, arg)
    return config
