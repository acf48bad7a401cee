"""Search of an index by sentences and images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from r2m.evaluation.pages.search_page import SearchHit, SearchResult
from r2m.inference.search.approximate_search import PROBES, ApproximateSearch
from r2m.inference.search.exact_search import (
    Comparison,
    Found,
    compare_by_angle,
    compare_by_product,
    compare_captions_with_images,
    compare_images_with_captions,
    search_exactly,
)
from r2m.inference.search.queries import Query
from r2m.inference.search.vector_index import Kind, VectorIndex
from tfrecords.core.errors import InputError


class Hit(NamedTuple):
    """An item of an index that was found.

    Attributes:
        score: similarity to the query or, after reranking, to the mean of the items found.
        item: `name` and `path` of an image, or `text`.
    """

    score: float
    item: dict[str, Any]


class Result(NamedTuple):
    """Result of a query.

    Attributes:
        query: query.
        hits: items found, nearest first.
    """

    query: Query
    hits: list[Hit]


def search_index(
    index: VectorIndex,
    queries: Sequence[Query],
    count: int,
    *,
    rerank: bool = False,
    approximate: bool = False,
    probes: int = PROBES,
) -> list[Result]:
    """Finds the items of an index that are nearest to each query.

    A caption and an image are compared by the similarity of the embedding, two captions or two
    images by the cosine of their vectors.

    Args:
        index: index to search.
        queries: queries encoded by the model that made the index.
        count: number of items to find per query.
        rerank: whether to reorder the items found by the inner product with their mean vector, like
            `regularities` in Kiros' code.
        approximate: whether to use the structure for approximate search.
        probes: see `ApproximateSearch`.

    Raises:
        InputError: the index or its similarity does not support approximate search.
    """
    by_kind: dict[Kind, list[int]] = {"captions": [], "images": []}
    for number, query in enumerate(queries):
        by_kind[query.kind].append(number)
    results: dict[int, Result] = {}
    for kind, numbers in by_kind.items():
        if not numbers:
            continue
        vectors = np.stack([queries[number].vector for number in numbers]).astype(np.float32)
        if index.kind == kind:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        search = _searcher(index, kind, approximate, probes)
        found = search(vectors, count)
        for number, rows, scores in zip(numbers, found.rows, found.scores, strict=True):
            there = rows >= 0
            results[number] = _result(index, queries[number], rows[there], scores[there], rerank)
    return [results[number] for number in range(len(queries))]


def page_results(results: Sequence[Result]) -> list[SearchResult]:
    """Returns results in the form of tables and pages."""
    return [
        SearchResult(
            result.query.title,
            [
                SearchHit(hit.score, hit.item["name"], Path(hit.item["path"]))
                if "path" in hit.item
                else SearchHit(hit.score, hit.item["text"])
                for hit in result.hits
            ],
            result.query.image,
        )
        for result in results
    ]


def _result(
    index: VectorIndex, query: Query, rows: np.ndarray, scores: np.ndarray, rerank: bool
) -> Result:
    if rerank:
        nearest = index.vectors[rows].astype(np.float32)
        scores = nearest @ nearest.mean(axis=0)
        order = np.argsort(-scores, kind="stable")
        rows, scores = rows[order], scores[order]
    items = index.items([int(row) for row in rows])
    return Result(query, [Hit(float(s), item) for s, item in zip(scores, items, strict=True)])


def _searcher(
    index: VectorIndex, query_kind: Kind, approximate: bool, probes: int
) -> Callable[[np.ndarray, int], Found]:
    compare = comparison(index.similarity, query_kind, index.kind, unit=index.unit_vectors)
    if not approximate:
        return lambda queries, count: search_exactly(index.vectors, queries, count, compare)
    if compare is not compare_by_product:
        raise InputError(
            f"{index.folder}: approximate search compares inner products, but these vectors "
            f"({index.similarity} similarity) are compared in another way: search without "
            "--approximate"
        )
    if index.approximate_file is None:
        raise InputError(
            f"{index.folder} has no structure for approximate search: build it again with "
            "--approximate and --overwrite, or search without --approximate"
        )
    return ApproximateSearch(index.approximate_file, probes)


def comparison(similarity: str, queries: Kind, rows: Kind, *, unit: bool) -> Comparison:
    """Returns the function that compares queries with the rows of an index.

    Args:
        similarity: similarity of the embedding.
        queries: kind of the queries; their vectors have length 1 if the rows are of the same kind.
        rows: kind of the rows.
        unit: whether all rows have length 1.
    """
    if queries == rows:
        return compare_by_product if unit else compare_by_angle
    if similarity == "cosine":
        return compare_by_product
    return compare_captions_with_images if rows == "images" else compare_images_with_captions
