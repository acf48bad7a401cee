"""What every supervised captioner can set.

Other configurations start from `get_config` or `course` and change what differs. Every field can
be overridden on the command line: `--config.stages.cross_entropy.steps="10 epochs"`.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import common


def get_config(captioner: str, arg: str | None = None) -> ConfigDict:
    """Settings of a captioner of self-critical.pytorch, paths left open.

    Args:
        captioner: a name that is registered in `models.captioners`.
        arg: what follows the colon in `--config=NAME:ARG`: None for the published settings,
            `shapes` for the embedded data set on a laptop, `flickr8k` for 6,000 photographs on two
            CPU cores, `flickr8k_pixels` to go on from there with the last blocks of MobileNet,
            `test` for a few seconds of training.

    Raises:
        ValueError: an unknown argument.
    """
    config = _common(captioner)
    if arg is not None:
        return _sized(config, arg)
    # 0.8 times the learning rate every three epochs; every five epochs, 0.05 more of the words a
    # captioner is fed are its own.
    config.training.schedule.update(
        {"name": "step", "decay_start": 0, "decay_every": "3 epochs", "decay_rate": 0.8}
    )
    config.loss.sampling_start = 0
    if captioner == "updown":
        config.model.update({"units": 1000, "word_size": 1000, "attention_units": 512})
    return config


def course(captioner: str, arg: str | None = None) -> ConfigDict:
    """Settings of the EECS 498 course for its three models; see `get_config` for `arg`.

    The course's network is trained along: `image.source=pixels`, `image.trained_from=all`.
    """
    config = _common(captioner)
    # AdamW, and the loss summed over each caption.
    config.training.update({"optimizer": "adamw", "weight_decay": 0.01, "clip_value": None})
    config.loss.reduction = "captions"
    if arg is not None:
        return _sized(config, arg)
    # Pairs: each image comes with one caption.
    config.data.captions_per_image = 1
    config.stages.cross_entropy.update(
        {"learning_rate": 1e-3, "batch_size": 256, "steps": "60 epochs"}
    )
    return config


def _sized(config: ConfigDict, arg: str) -> ConfigDict:
    """`config` at the size and budget that `arg` names."""
    common.check_argument(arg, *_SIZES)
    units, cross_entropy, self_critical = _SIZES[arg]
    config.model.units = config.model.word_size = units
    if config.name in ("att2in", "att2in2", "updown"):
        config.model.attention_units = units
    config.stages.cross_entropy.update(cross_entropy)
    config.stages.self_critical.update(self_critical)
    if arg.startswith("flickr8k"):
        config.model.dropout = 0.3
        config.training.schedule.update({"name": "cosine", "warm_up": 200, "final_fraction": 0.02})
        # Half a batch on each of two cores.
        config.training.update({"micro_batches": 2, "at_once": 2})
    if arg == "flickr8k_pixels":
        config.image.update({"source": "pixels", "alpha": 0.75, "trained_from": "conv_dw_9"})
        config.image.update({"resize": 240, "mirror": True, "average_mirrored": True})
        # Few photographs for so many weights.
        config.model.dropout = 0.5
        config.loss.smoothing = 0.1
        config.training.ema_decay = 0.999
        config.decoding.length_normalization = 0.7
    return config


# More epochs only raise the reward of the photographs that are learnt from.
_FLICKR8K_REWARDS = {"learning_rate": 1e-4, "batch_size": 16, "steps": "2 epochs"}
# Argument -> units of the model, and what each stage has of its own.
_SIZES: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "shapes": (
        128,
        {
            "learning_rate": 2e-3,
            "batch_size": 32,
            "steps": "8 epochs",
            "evaluate_every": "2 epochs",
        },
        {"learning_rate": 1e-4, "batch_size": 16, "steps": "2 epochs"},
    ),
    # Small batches: what they learn from an image is worth more than the time they take longer.
    "flickr8k": (
        256,
        {"learning_rate": 2e-3, "batch_size": 4, "steps": "8 epochs", "evaluate_every": "2 epochs"},
        _FLICKR8K_REWARDS,
    ),
    "flickr8k_pixels": (
        256,
        {"learning_rate": 1e-3, "batch_size": 8, "steps": "7 epochs", "evaluate_every": "1 epochs"},
        _FLICKR8K_REWARDS,
    ),
    "test": (
        16,
        {"batch_size": 5, "steps": 4, "evaluate_every": 2},
        {"batch_size": 5, "steps": 2, "evaluate_every": 1},
    ),
}


def _common(captioner: str) -> ConfigDict:
    return ConfigDict(
        {
            "name": captioner,
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            "data": {
                "captions": "",
                "captions_per_image": 5,
                # Words of a sentence, the end marker included; longer ones are cut and ended.
                "max_length": 17,
                # Divides every cell of a grid, or region, by its L2 norm.
                "unit_norm": False,
                # What attention goes over where records hold both: grid or regions. None: regions,
                # but for the captioners that only know grids.
                "rows": common.none_of(str),
            },
            "image": {
                # `features`: stored in the records. `pixels`: from the stored pictures, through a
                # network in the model, which may be trained with it.
                "source": "features",
                # Pictures are squashed to `resize`, then cropped: at random in training.
                "resize": 224,
                "crop": 224,
                # Whether training sees them mirrored as often as not.
                "mirror": False,
                # Whether validation and use average what is seen of a picture and its mirror image.
                "average_mirrored": False,
                # Below 1: crops of many sizes, squashed to `crop`; the smallest of this area.
                "least_area": 1.0,
                # Any keras.applications name; weights are `imagenet`, a file or `none`.
                "backbone": "MobileNet",
                "weights": "imagenet",
                # Width multiplier of the MobileNets; 0 for all others.
                "alpha": 0.0,
                # First layer that is trained, with all behind it; `all`, or None for none.
                "trained_from": common.any_type(None),
                # What the learning rate is multiplied by for the network.
                "learning_rate_factor": 0.1,
            },
            # None is the model's own default, and has to stay None where it has no such part.
            "model": {
                "captioner": captioner,
                "units": common.none_of(int),
                "word_size": common.none_of(int),
                "attention_units": common.none_of(int),
                # How the grid becomes the first state of rnn and lstm: flatten or average.
                "pool": common.none_of(str),
                "dropout": common.none_of(float),
            },
            "loss": {
                "smoothing": 0.0,
                # What the sum over words is divided by: words, or captions.
                "reduction": "words",
                # Part of a batch's captions that is left out, the worst ones, and epochs before
                # that begins, in which all count.
                "drop_worst": 0.0,
                "drop_worst_after": 0,
                # Scheduled sampling: epoch it begins after (None: never), epochs between its
                # increases, how much each is, and the most it may be.
                "sampling_start": common.none_of(int),
                "sampling_every": 5,
                "sampling_increase": 0.05,
                "sampling_most": 0.25,
            },
            # Of self-critical training: CIDEr-D of captions that the captioner draws.
            "reward": {
                # Captions of an image; each is compared with the mean of the others.
                "samples": 5,
                # Most words of one, the end marker included.
                "max_length": 17,
                # File of r2m-build-document-frequencies. None: counted once from the training
                # captions, and kept beside them.
                "document_frequencies": common.none_of(str),
            },
            "decoding": {
                "beam_size": 3,
                "max_length": 20,
                "length_normalization": 0.0,
                "allow_unknown": False,
            },
            # Every entry of the gradient is clipped.
            "training": {
                **common.training(),
                "clip_global_norm": common.any_type(None),
                "clip_value": common.any_type(0.1),
            },
            "stages": {
                "cross_entropy": {
                    "learning_rate": 5e-4,
                    # Images; each comes with `captions_per_image` captions.
                    "batch_size": 10,
                    "steps": common.any_type("30 epochs"),
                    # Also the period of checkpoints.
                    "evaluate_every": common.any_type("1 epochs"),
                },
                "self_critical": {
                    "learning_rate": 5e-5,
                    "batch_size": 10,
                    "steps": common.any_type("20 epochs"),
                    "evaluate_every": common.any_type("1 epochs"),
                },
            },
        }
    )
