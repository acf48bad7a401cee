"""Embeddings of the published files: a caption per line, a row of features per image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import r2m
from configs.retrieval import uvs
from r2m.tasks.retrieval.experiment import run_retrieval
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.core.errors import InputError
from tfrecords.formats.paired.reading import PairedSource

# Captions of each split, five per image.
SIZES = {"train": 30, "dev": 10}


def write_files(folder: Path, *, repeats: int, missing: int | None = None) -> Path:
    """Writes the files of Kiros (each row five times) or of VSE++ (once)."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for split, captions in SIZES.items():
        rows = random.random((captions // 5, 4)).astype(np.float32)
        if missing is not None and split == "train":
            rows[missing] = 0
        np.save(folder / f"f8k_{split}_ims.npy", np.repeat(rows, repeats, axis=0))
        lines = [f"A dog number {line // 5} of {line % 5} ." for line in range(captions)]
        (folder / f"f8k_{split}_caps.txt").write_text("\n".join(lines) + "\n")
    return folder


def records_of(source: str, folder: Path) -> Path:
    rule, _, _ = source.partition(":")
    options = CaptionsOptions(
        folder=folder, captions=(PairedSource.parse(source),), vocabulary_rule=rule
    )
    return build_captions(options, progress=False).folder


@pytest.mark.parametrize(("rule", "repeats"), [("kiros", 5), ("vsepp", 1)])
def test_an_embedding_of_published_files_splits_words_as_they_do(
    rule: str, repeats: int, tmp_path: Path
) -> None:
    files = write_files(tmp_path / "files", repeats=repeats)
    config = uvs.get_config("test")
    config.data.captions = str(records_of(f"{rule}:{files}", tmp_path / "records"))
    config.stages.ranking.update(steps=1, evaluate_every=1)
    run_retrieval(config, tmp_path / "run")
    run = r2m.load(tmp_path / "run")
    assert ("A" in run.vocabulary) == (rule == "kiros")
    names, images, texts = run.encode_records(tmp_path / "records", "val")
    assert images.shape == (2, 8) and names == ["f8k_dev_0", "f8k_dev_1"]
    assert texts[0][0] == "A dog number 0 of 0 ."
    same = run.encode_sentences(["A dog number 0 .", "a dog number 0 ."])
    assert np.allclose(*same) == (rule == "vsepp")
    with pytest.raises(InputError, match="that R2M did not compute"):
        run.encode_images([tmp_path / "dog.jpg"])


def test_missing_features_are_named_before_training(tmp_path: Path) -> None:
    files = write_files(tmp_path / "files", repeats=1, missing=2)
    config = uvs.get_config("test")
    config.data.captions = str(records_of(f"vsepp:{files}", tmp_path / "records"))
    with pytest.raises(InputError, match=r"all zero.*\(1 in all\): f8k_train_2\."):
        run_retrieval(config, tmp_path / "run")


def test_one_image_has_nothing_to_be_ranked_against(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    np.save(folder / "train_ims.npy", np.ones((1, 4), np.float32))
    (folder / "train_caps.txt").write_text("a dog\n" * 5)
    config = uvs.get_config("test")
    config.data.captions = str(records_of(f"vsepp:{folder}", tmp_path / "records"))
    with pytest.raises(InputError, match="needs at least two images"):
        run_retrieval(config, tmp_path / "run")
