"""Commands shared by the recipes of captioners on Flickr8k."""

from __future__ import annotations

from pathlib import Path

from r2m.recipes.steps import Command


def split_flags(data: Path) -> list[str]:
    """Returns the flags of Flickr8k's lists of training and validation images."""
    flickr8k = data / "flickr8k"
    return [
        f"--split=train={flickr8k}/train_images.txt", f"--split=val={flickr8k}/dev_images.txt"
    ]  # fmt: skip


def build_captions(data: Path, records: Path, *flags: str) -> Command:
    """Returns the build of Flickr8k's captions, with its splits for training and validation.

    Args:
        data: folder with `flickr8k/`.
        records: folder to write; the records get its name.
        *flags: flags of the image features.
    """
    flickr8k = data / "flickr8k"
    return [
        "r2m-build-captions", f"--name={records.name}",
        f"--captions={flickr8k}/captions.token.txt", *split_flags(data),
        f"--images={flickr8k}/images", *flags,
        "--workers=2", f"--output={records}",
    ]  # fmt: skip


def train(model: str, size: str, records: Path, workdir: Path, *flags: str) -> Command:
    """Returns the training of a captioner at a size."""
    return [
        "r2m-train-captioner", f"--config={model}:{size}", f"--captions={records}",
        f"--workdir={workdir}", *flags,
    ]  # fmt: skip


def train_by_rewards(model: str, size: str, records: Path, workdir: Path, *flags: str) -> Command:
    """Returns the self-critical training that follows `train` in the same workdir."""
    return ["r2m-train-self-critical", *train(model, size, records, workdir, *flags)[1:]]


def evaluate(records: Path, *flags: str) -> Command:
    """Returns an evaluation with a gallery of twelve images."""
    return ["r2m-evaluate", f"--records={records}", "--gallery=12", "--gallery_seed=1", *flags]
