"""The embedded data set: a small network that a laptop trains in minutes.

    make demo

or, on your own records, r2m-train-curriculum --config=shapes
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common
from configs import r2m_sections as sections


def get_config(arg: str | None = None) -> ConfigDict:
    """Returns a quarter of the published size, trained with larger steps.

    Args:
        arg: `test` shortens the training to a few seconds, as a smoke test.

    Raises:
        ValueError: another argument.
    """
    common.check_argument(arg, "test")
    config = ConfigDict(
        {
            "name": "shapes",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            # A quarter of the sentences describe two objects of a kind.
            "data": sections.data(max_concepts=5, max_repeats=2),
            "image": sections.image(),
            "model": {
                "units": 128,
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
                    learning_rate=2e-3, batch_size=64, steps=600, evaluate_every=150, max_length=30
                ),
                "xe_rec": sections.stage(
                    learning_rate=5e-4, batch_size=64, steps=300, evaluate_every=100, max_length=30
                ),
                "tri": sections.stage(
                    learning_rate=1e-5, batch_size=64, steps=50, evaluate_every=25, max_length=30
                ),
                "tri_rec": sections.stage(
                    learning_rate=1e-5, batch_size=64, steps=100, evaluate_every=50, max_length=30
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
                    learning_rate=1e-4, batch_size=16, steps=50, evaluate_every=25, max_length=20
                ),
            },
        }
    )
    config.training.log_every = 25
    if arg == "test":
        config.model.units = 32
        for stage in config.stages.values():
            stage.update(steps=4, evaluate_every=2)
    return config
