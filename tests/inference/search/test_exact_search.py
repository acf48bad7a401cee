"""Exact search against a full sort."""

import numpy as np
import pytest
from retrieval_examples import all_similarities

from r2m.inference.search import exact_search
from r2m.inference.search.exact_search import (
    compare_by_angle,
    compare_by_product,
    compare_captions_with_images,
    compare_images_with_captions,
    search_exactly,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(exact_search, "_BLOCK_ROWS", 50)


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(333, 24)).astype(np.float16)


QUERIES = np.random.default_rng(1).normal(size=(7, 24)).astype(np.float32)


@pytest.mark.parametrize(
    ("compare", "expected"),
    [
        (compare_by_product, lambda v: QUERIES @ v.T),
        (compare_by_angle, lambda v: QUERIES @ (v / np.linalg.norm(v, axis=1, keepdims=True)).T),
        (compare_captions_with_images, lambda v: all_similarities(v, QUERIES, "order").T),
        (compare_images_with_captions, lambda v: all_similarities(QUERIES, v, "order")),
    ],
)
def test_nearest_rows_are_those_of_a_full_sort(vectors, compare, expected):
    scores = expected(vectors.astype(np.float64))
    found = search_exactly(vectors, QUERIES, 10, compare)
    np.testing.assert_array_equal(found.rows, np.argsort(-scores, axis=1)[:, :10])
    np.testing.assert_allclose(found.scores, -np.sort(-scores, axis=1)[:, :10], rtol=1e-4)


def test_equal_rows_come_in_their_order(vectors):
    vectors[[300, 40, 5, 120, 41]] = vectors[5]
    found = search_exactly(vectors, vectors[5:6].astype(np.float32), 4, compare_by_product)
    assert found.rows.tolist() == [[5, 40, 41, 120]]
    assert len(set(found.scores[0])) == 1


def test_more_than_there_are(vectors):
    found = search_exactly(vectors[:3], QUERIES, 10, compare_by_product)
    assert found.rows.shape == (7, 3)
