"""VSE++: ranking loss with the hardest negative of a batch (Faghri et al. 2018).

    r2m-train-retrieval --config=vse++:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/vse_plus_plus

To build the published data: `r2m-build-captions --vocabulary_rule=vsepp --captions=vsepp:FOLDER`.
To fine-tune the image network, start from a run with the frozen network: `--init_from=RUN
--config.image.source=pixels --config.image.trained_from=all --config.image.frozen_epochs=0
--config.stages.ranking.learning_rate=2e-5`.
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
        "vse++",
        data=sections.data(batching="shuffled", start_marker=True),
        loss=sections.loss(margin=0.2, hinges="max"),
        stage={"learning_rate": 2e-4, "steps": "30 epochs", "evaluate_every": "1 epochs"},
        model={},
        training={"optimizer": "adam"},
        schedule={"name": "step", "decay_every": "15 epochs", "decay_rate": 0.1},
    )
    if arg is not None:
        config.loss.sum_epochs = 1
        sections.train_at_size(config, arg)
    return config
