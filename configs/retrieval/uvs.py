"""UVS: unified visual-semantic embedding by the sum of hinges of a batch (Kiros et al. 2014).

    r2m-train-retrieval --config=uvs:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/uvs

Image vectors are L2-normalized at inference but not in training, as in the released code. The
published data are fc7 features of VGG-19 with unit norm, and captions split at white space. To
build them: `r2m-build-captions --vocabulary_rule=kiros --captions=kiros:FOLDER`.
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
        "uvs",
        data=sections.data(batching="same_length", start_marker=False),
        loss=sections.loss(margin=0.2, hinges="sum"),
        stage={"learning_rate": 2e-4, "steps": "15 epochs", "evaluate_every": 100},
        model={"gru_weights": "kiros", "normalize_images": "in_use"},
        training={"optimizer": "kiros_adam"},
        schedule={},
    )
    if arg is not None:
        # The first steps of `kiros_adam` are several times the learning rate.
        config.training.optimizer = "adam"
        sections.train_at_size(config, arg)
    return config
