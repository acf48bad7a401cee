"""Captions of similar training images as references of rewards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines import captions
from pipelines.caption_batches import CaptionOptions
from pipelines.similar_images import CaptionedImages, read_captioned_images
from pipelines.similar_references import SimilarReferences
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records

COUNT, LIMIT = 3, 6


@pytest.fixture(scope="module")
def records(caption_records: Path) -> Records:
    return captions.open_captions(str(caption_records))


@pytest.fixture(scope="module")
def images(records: Records) -> CaptionedImages:
    return read_captioned_images(records, "train")


def test_neighbors_are_the_most_similar_other_images(images: CaptionedImages) -> None:
    found = list(images.neighbors(COUNT))
    nearest = np.concatenate([indices for indices, _ in found])
    scores = np.concatenate([values for _, values in found])
    assert nearest.shape == scores.shape == (len(images.names), COUNT)
    for own, direction in enumerate(images.directions):
        cosines = [float(direction @ other) for other in images.directions]
        others = sorted(set(range(len(cosines))) - {own}, key=lambda image: -cosines[image])
        np.testing.assert_allclose(scores[own], [cosines[i] for i in others[:COUNT]], rtol=1e-5)
        assert own not in nearest[own]


def test_references_are_captions_of_similar_images(
    records: Records, images: CaptionedImages
) -> None:
    similar = SimilarReferences(records, "train", CaptionOptions(max_length=LIMIT), COUNT)
    assert similar.columns == ("image_id",)
    batch = similar({"image_id": tf.constant([*images.names[:4], "unknown"])})
    nearest = np.concatenate([indices for indices, _ in images.neighbors(COUNT)])
    scores = np.concatenate([values for _, values in images.neighbors(COUNT)])
    each = max(map(len, images.sentences))
    assert batch["similar_references"].shape == (5, COUNT * each, LIMIT)
    for row in range(4):
        lengths = batch["similar_lengths"][row].numpy()
        there = lengths > 0
        wanted = [(place, s) for place, i in enumerate(nearest[row]) for s in images.sentences[i]]
        assert there.sum() == len(wanted)
        weights = batch["similar_weights"][row].numpy()
        assert not weights[~there].any() and weights.sum() == pytest.approx(1.0, abs=1e-6)
        factors = np.exp(8.0 * scores[row, [place for place, _ in wanted]])
        np.testing.assert_allclose(weights[there], factors / factors.sum(), rtol=1e-5)
        words = batch["similar_references"][row].numpy()[there]
        for (_, sentence), own, length in zip(wanted, words, lengths[there], strict=True):
            assert length == min(len(sentence), LIMIT)
            # Truncated sentences end with the end marker, like the training captions.
            assert own[:length].tolist() == [*sentence[: length - 1], 2]
            assert not own[length:].any()
    for name in ("similar_references", "similar_lengths", "similar_weights"):
        assert batch[name].shape[0] == 5
    assert not batch["similar_lengths"][4].numpy().any()
    assert not batch["similar_weights"][4].numpy().any()


def test_more_neighbors_than_images_are_refused(records: Records, images: CaptionedImages) -> None:
    others = len(images.names) - 1
    SimilarReferences(records, "train", CaptionOptions(), others)
    message = rf"reward.neighbors={others + 1} is too large: .* at most {others}$"
    with pytest.raises(InputError, match=message):
        SimilarReferences(records, "train", CaptionOptions(), others + 1)
