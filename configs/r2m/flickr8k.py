"""Real images on a small machine: Flickr8k photographs, COCO captions as text, no pairs.

    r2m-recipe flickr8k-r2m DATA WORKSPACE

builds the records and trains the curriculum with the concepts of a COCO detector alone, then merged
with those of an ImageNet classifier, then the two ablations of the paper. One curriculum of this
configuration is

    r2m-train-curriculum --config=flickr8k --corpora=CORPORA --images=IMAGES \\
        --workdir=workspace/runs/flickr8k

RESULTS.md lists scores and training times.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common
from configs import r2m_sections as sections


def get_config(arg: str | None = None) -> ConfigDict:
    """Returns half the published size, with fewer, larger steps: under three epochs of the corpus.

    Args:
        arg: must be None, because this configuration has one size.

    Raises:
        ValueError: another argument.
    """
    common.check_argument(arg)
    config = ConfigDict(
        {
            "name": "flickr8k",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            # "A group of people", "two dogs": the number of boxes shows how many there are.
            "data": sections.data(max_concepts=4, max_repeats=3),
            "image": sections.image(),
            "model": {
                "units": 256,
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
                    learning_rate=1e-3, batch_size=128, steps=600, evaluate_every=200, max_length=20
                ),
                # The lower rate replaces a schedule and refines the weights of stage 1.
                "xe_rec": sections.stage(
                    learning_rate=2e-4, batch_size=128, steps=400, evaluate_every=100, max_length=20
                ),
                "tri": sections.stage(
                    learning_rate=1e-5, batch_size=128, steps=50, evaluate_every=10, max_length=20
                ),
                "tri_rec": sections.stage(
                    learning_rate=1e-5, batch_size=128, steps=100, evaluate_every=25, max_length=20
                ),
                "joint": sections.stage(
                    learning_rate=1e-3,
                    batch_size=128,
                    steps=1_000,
                    evaluate_every=250,
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
    config.training.log_every = 50
    return config
