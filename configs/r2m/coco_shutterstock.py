"""The published setting: MSCOCO images, Shutterstock descriptions, Open Images v4 concepts.

    r2m-train-curriculum --config=coco_shutterstock \\
        --corpora=workspace/records/corpora/shutterstock \\
        --images=workspace/records/images/coco_karpathy --workdir=workspace/runs/coco_shutterstock

Model sizes, losses, learning rates and steps are those of the authors' released code (d 512, two
heads, batch 256, Adam; 5,000 + 6,000 + 50 + 100 steps). It has not been run here, because it needs
the Shutterstock corpus, which cannot be distributed.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common
from configs import r2m_sections as sections


def get_config(arg: str | None = None) -> ConfigDict:
    """Returns the settings of the released code of the IJCAI 2020 paper, without paths.

    Args:
        arg: must be None, because this configuration has one size.

    Raises:
        ValueError: another argument.
    """
    common.check_argument(arg)
    config = ConfigDict(
        {
            "name": "coco_shutterstock",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            "data": sections.data(max_concepts=5, max_repeats=1),
            "image": sections.image(),
            "model": {
                "units": 512,
                "heads": 2,
                "decoder": "relational",
                "fusion": "attention",
                "reconstructor": "relational",
                "dropout": 0.2,
                "tie_embeddings": False,
                # The released code leaves the image projection at its random start: `frozen`.
                "image_projection": "trained",
            },
            "loss": {"reconstruction_weight": 1.0, "margin": 0.2},
            "reward": sections.reward(),
            # The released code may generate <unk>; this configuration does not.
            "decoding": common.decoding(),
            "training": common.training(),
            "stages": {
                "xe": sections.stage(
                    learning_rate=1e-4,
                    batch_size=256,
                    steps=5_000,
                    evaluate_every=500,
                    max_length=30,
                ),
                "xe_rec": sections.stage(
                    learning_rate=1e-4,
                    batch_size=256,
                    steps=6_000,
                    evaluate_every=500,
                    max_length=40,
                ),
                "tri": sections.stage(
                    learning_rate=1e-5, batch_size=256, steps=50, evaluate_every=10, max_length=40
                ),
                "tri_rec": sections.stage(
                    learning_rate=1e-5, batch_size=256, steps=100, evaluate_every=10, max_length=40
                ),
                "joint": sections.stage(
                    learning_rate=1e-4,
                    batch_size=256,
                    steps=10_000,
                    evaluate_every=500,
                    max_length=20,
                ),
                # Trained on pairs of images and captions by r2m-train-self-critical.
                "reward": sections.stage(
                    learning_rate=5e-5,
                    batch_size=16,
                    steps=2_000,
                    evaluate_every=200,
                    max_length=20,
                ),
            },
        }
    )
    return config
