"""What every R2M experiment can set, at the published values.

Other configurations start from `base.get_config()` and change what differs. Every field can be
overridden on the command line: `--config.stages.xe.steps=200`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str | None = None) -> ConfigDict:
    """Settings of the IJCAI 2020 paper's released code, paths left open.

    Args:
        arg: None: there is only one size.

    Raises:
        ValueError: another argument.
    """
    common.check_argument(arg)
    return ConfigDict(
        {
            "name": "r2m",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            "data": {
                "corpora": "",
                "images": "",
                # Concepts the encoder is shown: the best-scored ones.
                "max_concepts": 5,
                # How often one concept may be repeated when several such objects are there.
                "max_repeats": 1,
            },
            "image": {
                # `features`: vectors stored in the records. `pixels`: crops through a frozen CNN.
                "source": "features",
                "resize": 346,
                "crop": 299,
                # Any keras.applications name; weights are `imagenet`, a file or `none`.
                "backbone": "InceptionResNetV2",
                "weights": "imagenet",
                # Width multiplier of the MobileNets; 0 for all others.
                "alpha": 0.0,
            },
            "model": {
                "units": 512,
                "heads": 2,
                "decoder": "relational",
                "fusion": "attention",
                "reconstructor": "relational",
                "dropout": 0.2,
                "tie_embeddings": False,
                # Upstream leaves the image projection at its random start: `frozen`.
                "image_projection": "trained",
            },
            "loss": {"reconstruction_weight": 1.0, "margin": 0.2},
            "decoding": {
                "beam_size": 3,
                "max_length": 20,
                "length_normalization": 0.0,
                # Upstream may say <unk>; we do not.
                "allow_unknown": False,
            },
            "training": common.training(),
            "stages": {
                "xe": _stage(1e-4, 5_000, 500, 30),
                "xe_rec": _stage(1e-4, 6_000, 500, 40),
                "tri": _stage(1e-5, 50, 10, 40),
                "tri_rec": _stage(1e-5, 100, 10, 40),
                "joint": _stage(1e-4, 10_000, 500, 20),
            },
        }
    )


def _stage(learning_rate: float, steps: int, evaluate_every: int, max_length: int) -> dict:
    return {
        "learning_rate": learning_rate,
        "batch_size": 256,
        "steps": common.any_type(steps),
        # Also the period of checkpoints.
        "evaluate_every": common.any_type(evaluate_every),
        # Words of a sentence, the end marker included; longer ones are cut.
        "max_length": max_length,
    }
