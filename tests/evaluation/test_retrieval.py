"""Retrieval metrics against sorted similarities, the published definitions and worked examples."""

import numpy as np
import pytest
from retrieval_examples import all_similarities, embedding, sorted_ranks

from losses.similarities import SIMILARITIES
from r2m.evaluation.retrieval import (
    Member,
    Ranks,
    metrics_of_ranks,
    retrieval_metrics,
    retrieval_ranks,
    split_folds,
)
from r2m.evaluation.similarity_blocks import COSINE, ORDER, SimilarityRows
from tfrecords.core.errors import InputError

IMAGES = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0]], np.float32)
CAPTIONS = np.array([[0.8, 0.6, 0], [0, 0.6, 0.8], [0, 1, 0]], np.float32)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("per_image", [5, [1, 7, 2, 4, 5] * 8], ids=["five", "any"])
def test_ranks_are_those_of_a_full_sort(similarity, per_image, monkeypatch):
    monkeypatch.setattr("r2m.evaluation.similarity_blocks._BLOCK_VALUES", 1000)
    monkeypatch.setattr("r2m.evaluation.similarity_blocks._TILE_ROWS", 4)
    monkeypatch.setattr("r2m.evaluation.similarity_blocks._TILE_COLUMNS", 16)
    images, captions, owners = embedding(40, per_image)
    shuffled = np.random.default_rng(1).permutation(len(owners))
    captions, owners = captions[shuffled], owners[shuffled]
    ranks = retrieval_ranks([Member(images, captions, similarity)], owners)
    i2t, t2i = sorted_ranks(all_similarities(images, captions, similarity), owners)
    np.testing.assert_array_equal(ranks.i2t, i2t)
    np.testing.assert_array_equal(ranks.t2i, t2i)
    assert 0 < ranks.t2i.mean() < 20


def test_golden_similarities():
    np.testing.assert_allclose(
        SimilarityRows(CAPTIONS, ORDER)(IMAGES),
        [[-0.6, -1, -1], [-0.8, -0.8, 0], [-0.2, -0.8, -0.2]],
        atol=1e-6,
    )
    np.testing.assert_allclose(SimilarityRows(CAPTIONS, COSINE)(IMAGES), IMAGES @ CAPTIONS.T)


def test_worked_example():
    # Similarities .8 0 0 / .6 .6 1 / .96 .48 .8.
    found = retrieval_metrics(IMAGES, CAPTIONS, np.arange(3))
    assert found["i2t_r1"] == pytest.approx(100 / 3)
    assert found["i2t_r5"] == found["t2i_r10"] == 100
    # Ranks from 0 by image: 0, 2 (ties count against), 1; by caption: 1, 0, 1.
    assert found["i2t_median_rank"] == 2 and found["i2t_mean_rank"] == pytest.approx(2)
    assert found["t2i_median_rank"] == 2 and found["t2i_mean_rank"] == pytest.approx(5 / 3)
    assert found["recall_sum"] == pytest.approx(200 / 3 + 400)


def test_the_published_median_is_rounded_down():
    found = metrics_of_ranks(Ranks(np.array([0, 1, 4, 9]), np.array([0, 1, 4, 9])))
    assert found["i2t_median_rank"] == 3  # floor(2.5) + 1
    assert found["i2t_mean_rank"] == 4.5
    assert (found["i2t_r1"], found["i2t_r5"], found["i2t_r10"]) == (25, 75, 100)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_ties_count_against_the_right_item(similarity):
    rng = np.random.default_rng(0)
    vector = rng.normal(size=(1, 64)).astype(np.float32)
    images, captions = np.repeat(vector, 20, 0), np.repeat(vector, 60, 0)
    ranks = retrieval_ranks([Member(images, captions, similarity)], np.repeat(np.arange(20), 3))
    assert set(ranks.i2t) == {57} and set(ranks.t2i) == {19}


def test_rounding_does_not_decide_about_equal_captions():
    images, captions, owners = embedding(50, 2, dimensions=1000, noise=0.1)
    twin = np.arange(0, 100, 2)
    captions[twin] = captions[np.roll(twin, 2)]  # the captions of other images, word by word
    scores = all_similarities(images, captions, COSINE)
    ranks = retrieval_ranks([Member(images, captions)], owners)
    best = np.array([scores[i, owners == i].max() for i in range(50)])
    foreign = owners[None] != np.arange(50)[:, None]
    np.testing.assert_array_equal(ranks.i2t, ((scores > best[:, None] - 1e-9) & foreign).sum(1))


def test_chance_level():
    images, captions, owners = embedding(1000, 5, noise=1e6)
    found = retrieval_metrics(images, captions, owners)
    assert found["i2t_r1"] < 0.5 and found["t2i_r10"] < 2
    assert found["t2i_median_rank"] == pytest.approx(500, abs=30)
    assert found["i2t_median_rank"] == pytest.approx(650, abs=90)


def test_ensembles_rank_by_mean_similarities():
    members = [embedding(30, 3, dimensions, seed=3, noise=2.0) for dimensions in (8, 24)]
    owners = members[0][2]
    ranks = retrieval_ranks([Member(*member[:2]) for member in members], owners)
    mean = sum(all_similarities(*member[:2], COSINE) for member in members) / 2
    i2t, t2i = sorted_ranks(mean, owners)
    np.testing.assert_array_equal(ranks.i2t, i2t)
    np.testing.assert_array_equal(ranks.t2i, t2i)


def test_folds_are_sets_of_their_own():
    images, captions, owners = embedding(25, 3)
    parts = list(split_folds([Member(images, captions)], owners, images=8, folds=3))
    assert len(parts) == 3
    (member,), own = parts[1]
    expected = retrieval_metrics(images[8:16], captions[24:48], owners[24:48] - 8)
    assert retrieval_metrics(*member[:2], own) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, c, o: (with_value(i, 3, np.nan), c, o), "image vectors: row 3 .* NaN"),
        (lambda i, c, o: (i, with_value(c, 7, np.inf), o), "caption vectors: row 7 .* infinite"),
        (lambda i, c, o: (with_value(i, 2, 0), c, o), r"row 2 is zero \(1 such rows\).*missing"),
        (lambda i, c, o: (i[:-1], c, o), "caption 18 belongs to image 9, but there are 9"),
        (lambda i, c, o: (i, c[:-2], o), "18 caption vectors for 20 owners"),
        (lambda i, c, o: (i, c[:-2], o[:-2]), "image 9 has no caption"),
        (lambda i, c, o: (i[:, :-1], c, o), "15 dimensions, caption vectors 16"),
        (lambda i, c, o: (i, c, o.astype(float)), "owners: expected int"),
        (lambda i, c, o: (i[:0], c, o), "image vectors: expected"),
        (lambda i, c, o: (i, c, o, "dot"), "unknown similarity 'dot'; known: cosine, order"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    with pytest.raises(InputError, match=message):
        retrieval_metrics(*change(*embedding(10, 2)))


def test_members_must_fit_together():
    images, captions, owners = embedding(10, 2)
    other = Member(images, captions, ORDER)
    with pytest.raises(InputError, match="different scales"):
        retrieval_ranks([Member(images, captions), other], owners)
    with pytest.raises(InputError, match="member 1: 9 image vectors, the first member has 10"):
        retrieval_ranks([Member(images, captions), Member(images[1:], captions)], owners)
    with pytest.raises(InputError, match="need 5000 images; found 10"):
        next(split_folds([Member(images, captions)], owners))


def with_value(rows, row, value):
    rows = rows.copy()
    rows[row] = value
    return rows
