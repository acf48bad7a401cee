"""Corrections of similarities against their formulas."""

import numpy as np
import pytest
from retrieval_examples import all_similarities, embedding, sorted_ranks

from r2m.evaluation.hubness import hub_offsets
from r2m.evaluation.retrieval import Member, corrected_ranks


@pytest.fixture
def hubs():
    """An embedding of which one caption and one image are close to all others."""
    images, captions, owners = embedding(30, 2, noise=0.7)
    center = images.mean(0) * 3
    images[0] = captions[5] = center / np.linalg.norm(center)
    return images, captions, owners


def test_csls_is_its_formula(hubs, monkeypatch):
    monkeypatch.setattr("r2m.evaluation.similarity_blocks._BLOCK_VALUES", 300)
    images, captions, owners = hubs
    members = [Member(images, captions)]
    scores = all_similarities(images, captions, "cosine")
    by_image = np.sort(scores, axis=1)[:, -10:].mean(1, keepdims=True)
    by_caption = np.sort(scores, axis=0)[-10:].mean(0, keepdims=True)
    i2t, t2i = sorted_ranks(2 * scores - by_image - by_caption, owners)
    ranks = corrected_ranks(members, owners, [hub_offsets(members, owners)["csls"]])[0]
    np.testing.assert_array_equal(ranks.i2t, i2t)
    np.testing.assert_array_equal(ranks.t2i, t2i)


def test_inverted_softmax_is_its_formula(hubs, monkeypatch):
    monkeypatch.setattr("r2m.evaluation.similarity_blocks._BLOCK_VALUES", 300)
    images, captions, owners = hubs
    members = [Member(images, captions)]
    scores = 10 * all_similarities(images, captions, "cosine")
    offsets = hub_offsets(members, owners)["inverted_softmax"]
    ranks = corrected_ranks(members, owners, [offsets])[0]
    # Normalized over the queries: images for i2t, captions for t2i.
    i2t, _ = sorted_ranks(scores - np.log(np.exp(scores).sum(0, keepdims=True)), owners)
    _, t2i = sorted_ranks(scores - np.log(np.exp(scores).sum(1, keepdims=True)), owners)
    np.testing.assert_array_equal(ranks.i2t, i2t)
    np.testing.assert_array_equal(ranks.t2i, t2i)
