"""Sections shared by the configurations of supervised captioners, with their defaults."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import common

# Arguments that every configuration of a captioner takes: the embedded data set on a laptop, 6,000
# photographs on two CPU cores, the same with the last blocks of MobileNet trained as well, a few
# seconds of training.
SIZES = ("shapes", "flickr8k", "flickr8k_pixels", "test")


def data(*, captions_per_image: int) -> dict[str, Any]:
    """Returns the records and options for reading them: `config.data`."""
    return {
        "captions": "",
        "captions_per_image": captions_per_image,
        # Maximum number of words of a sentence, end marker included; longer ones are truncated.
        "max_length": 17,
        # Divides every cell of a grid, or region, by its L2 norm.
        "unit_norm": False,
        # Appends the corners of its box and their area to every region or cell (5 numbers), and
        # sorts regions by decreasing area, as self-critical.pytorch's --use_box.
        "use_box": False,
        # Whether training draws the stored views of an image (--views of r2m-build-captions), the
        # image itself among them; otherwise it reads only the image.
        "views": True,
        # Rows to attend to if records contain both: grid or regions. None: regions, except for
        # captioners that require a grid.
        "rows": common.none_of(str),
    }


def image() -> dict[str, Any]:
    """Returns the source of image features: `config.image`."""
    return {
        # `features`: stored in the records. `pixels`: from the stored pictures, through a network
        # in the model, which may be trained with it.
        "source": "features",
        # Pictures are resized to `resize` x `resize`, then cropped, at random in training. None:
        # `crop` is the network's input size (224 pixels; 260 for EfficientNetLite2), `resize` is
        # `crop`.
        "resize": common.none_of(int),
        "crop": common.none_of(int),
        # Whether training mirrors them with probability 1/2.
        "mirror": False,
        # Whether validation and use average the feature maps of a picture and its mirror image.
        "average_mirrored": False,
        # Below 1: crops of many sizes, resized to `crop`; the smallest has this area.
        "least_area": 1.0,
        # EfficientNetLite0, 1, 2 or any keras.applications name; weights are `imagenet`, a file
        # or `none`.
        "backbone": "MobileNet",
        "weights": "imagenet",
        # Width multiplier of the MobileNets; 0 for all others.
        "alpha": 0.0,
        # First trained layer, with all layers after it; `all`, or None for none.
        "trained_from": common.any_type(None),
        # Factor of the learning rate for the network.
        "learning_rate_factor": 0.1,
    }


def loss(*, reduction: str) -> dict[str, Any]:
    """Cross entropy: `config.loss`.

    Args:
        reduction: divisor of the sum over words: the number of `words`, or of `captions`.
    """
    return {
        "smoothing": 0.0,
        "reduction": reduction,
        # Share of a batch's captions, the worst ones, that is left out, and number of initial
        # epochs without leaving out.
        "drop_worst": 0.0,
        "drop_worst_after": 0,
        # Scheduled sampling: epochs before its start (None: never), epochs between its increases,
        # size of each increase, and the maximum.
        "sampling_start": common.none_of(int),
        "sampling_every": 5,
        "sampling_increase": 0.05,
        "sampling_most": 0.25,
    }


def reward(*, reduction: str) -> dict[str, Any]:
    """Rewards of captions that the captioner generates, in self-critical training: `config.reward`.

    Args:
        reduction: divisor of the sum over words: the number of `words`, or of `captions`.
    """
    return {
        # Captions per image.
        "samples": 5,
        # `draws`: word by word, by their probabilities. `beam`: the hypotheses of a beam search of
        # this width, the most likely captions.
        "sampling": "draws",
        # Maximum number of words of a caption, end marker included.
        "max_length": 17,
        # The reward: CIDEr-D (0 to 10) and sentence BLEU-4 (0 to 1), times these.
        "cider_weight": 1.0,
        "bleu_weight": 0.0,
        # Number of similar training images whose captions are rewarded, too, and the share of these
        # captions in CIDEr-D; reduces overfitting on small data, see `losses/caption_reward.py`.
        "neighbors": 0,
        "neighbor_share": 0.5,
        # `policy`: gradient of the expected reward. Losses of structured prediction instead, which
        # have no baseline: best_of_n, seqnll, risk, max_margin, multi_margin, softmax_margin and
        # real_softmax_margin; losses/sequence_losses.py has their formulas.
        "loss": "policy",
        # Baseline of the reward of a caption: the mean of the other captions of its image
        # (`leave_one_out`), or the reward of the greedy caption (`greedy`).
        "baseline": "leave_one_out",
        "reduction": reduction,
        # File of r2m-build-document-frequencies. None: counted once from the training captions and
        # stored with them.
        "document_frequencies": common.none_of(str),
        # Share of the cross entropy of the reference captions in the loss, below 1.
        "cross_entropy_weight": 0.0,
        # Factor of -log p per word, which is added to the reward of a caption; preserves diversity.
        "entropy_weight": 0.0,
        # Dropout, against overfitting on small data.
        "dropout": False,
    }


def self_critical(
    *, learning_rate: float, batch_size: int, steps: int | str, evaluate_every: int | str
) -> dict[str, Any]:
    """Returns the stage of self-critical training: `config.stages.self_critical`.

    It has a separate schedule, so that the decay of the previous stage is not applied twice: the
    published learning rate is constant during the stage.

    Args:
        learning_rate: initial learning rate of the schedule.
        batch_size: images per step, over all replicas.
        steps: duration of the stage.
        evaluate_every: duration between evaluations, and between checkpoints.
    """
    stage = common.stage(
        learning_rate=learning_rate,
        batch_size=batch_size,
        steps=steps,
        evaluate_every=evaluate_every,
    )
    return {**stage, "schedule": common.schedule()}


def train_at_size(config: ConfigDict, size: str) -> None:
    """Sets the training settings of a size, which do not depend on the captioner or its model.

    Args:
        config: configuration of a captioner; changed in place.
        size: a key of `SIZES`.
    """
    cross_entropy, self_critical = config.stages.cross_entropy, config.stages.self_critical
    config.reward.reduction = "captions"
    if size == "shapes":
        cross_entropy.update(
            learning_rate=2e-3, batch_size=32, steps="8 epochs", evaluate_every="2 epochs"
        )
        self_critical.update(learning_rate=1e-4, batch_size=16, steps="2 epochs")
    elif size == "test":
        cross_entropy.update(learning_rate=5e-4, batch_size=5, steps=4, evaluate_every=2)
        self_critical.update(batch_size=5, steps=2, evaluate_every=1)
    else:
        for stage in (config.training, self_critical):
            stage.schedule.update(name="cosine", warm_up=200, final_fraction=0.02)
        # Half of a batch on each of two cores.
        config.training.update(micro_batches=2, at_once=2)
        # Small batches give better scores per image, at the cost of longer training.
        cross_entropy.update(
            learning_rate=2e-3, batch_size=4, steps="8 epochs", evaluate_every="2 epochs"
        )
        # Beam search finds better captions than sampling, in which label smoothing makes every
        # tenth word random. Captions of similar images and dropout reduce overfitting.
        config.reward.update(sampling="beam", samples=10, neighbors=20, dropout=True)
        self_critical.update(
            learning_rate=1e-3, batch_size=16, steps="3 epochs", evaluate_every="0.5 epochs"
        )
    if size == "flickr8k_pixels":
        config.image.update(
            source="pixels",
            alpha=0.75,
            trained_from="conv_dw_9",
            resize=240,
            mirror=True,
            average_mirrored=True,
        )
        # Against overfitting, because there are few photographs for many weights.
        config.loss.smoothing = 0.1
        config.training.ema_decay = 0.999
        config.decoding.length_normalization = 0.7
        cross_entropy.update(
            learning_rate=1e-3, batch_size=8, steps="7 epochs", evaluate_every="1 epochs"
        )


def train_transformer_at_size(config: ConfigDict, size: str) -> None:
    """Sets the training like `train_at_size`, with the steps of transformers on photographs.

    Args:
        config: configuration of a captioner; changed in place.
        size: a key of `SIZES`.
    """
    train_at_size(config, size)
    cross_entropy, self_critical = config.stages.cross_entropy, config.stages.self_critical
    if size.startswith("flickr8k"):
        config.loss.smoothing = 0.1
        cross_entropy.learning_rate = 5e-4
        # Higher rates soon degrade the likelihood of captions.
        self_critical.update(learning_rate=1e-4, steps="2 epochs")
    if size == "flickr8k":
        cross_entropy.update(batch_size=10, steps="12 epochs", evaluate_every="2 epochs")
