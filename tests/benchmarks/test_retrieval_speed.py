"""Seconds and memory of retrieval metrics and of searches, at published and at large sizes.

pytest tests/benchmarks/test_retrieval_speed.py -p no:xdist
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r2m.evaluation.retrieval import retrieval_metrics
from r2m.inference.search.exact_search import compare_by_product, search_exactly

IMAGES, CAPTIONS_PER_IMAGE, SIZE = 5_000, 5, 1_024
VECTORS, NEAREST = 1_000_000, 10


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@pytest.fixture(scope="module")
def embedding() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of the size of COCO's 5K protocol."""
    rng = np.random.default_rng(0)
    images = unit(rng.normal(size=(IMAGES, SIZE)).astype(np.float32))
    owners = np.repeat(np.arange(IMAGES), CAPTIONS_PER_IMAGE)
    noise = rng.normal(size=(len(owners), SIZE)).astype(np.float32)
    return images, unit(images[owners] + 0.1 * noise), owners


def test_metrics_of_5000_images(benchmark: Any, embedding: Any) -> None:
    """5,000 images and 25,000 captions of 1,024 dimensions."""
    before = peak_gib()
    found = benchmark.pedantic(retrieval_metrics, embedding, rounds=3)
    benchmark.extra_info["peak_gib_before"] = before
    benchmark.extra_info["peak_gib"] = peak_gib()
    assert found["recall_sum"] > 0
    assert benchmark.stats["min"] < 10 and peak_gib() < 2


def test_metrics_by_order_similarity(benchmark: Any, embedding: Any) -> None:
    """The same by order similarity."""
    images, captions, owners = embedding
    benchmark.pedantic(
        retrieval_metrics, (np.abs(images), np.abs(captions), owners, "order"), rounds=3
    )


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Memory-mapped vectors in a thousand clusters, as float16."""
    file = tmp_path_factory.mktemp("vectors") / "vectors.f16"
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(1_000, SIZE)).astype(np.float32)
    with file.open("wb") as stream:
        for _ in range(100):
            rows = centers[rng.integers(0, 1_000, VECTORS // 100)]
            rows = rows + rng.normal(size=rows.shape).astype(np.float32)
            stream.write(unit(rows).astype("<f2").tobytes())
    return np.memmap(file, "<f2", "r", shape=(VECTORS, SIZE))


def queries(vectors: np.ndarray, count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    rows = vectors[np.sort(rng.integers(0, VECTORS, count))].astype(np.float32)
    return unit(rows + 0.5 / SIZE**0.5 * rng.normal(size=rows.shape).astype(np.float32))


@pytest.mark.parametrize("count", [1, 64])
def test_exact_search(benchmark: Any, vectors: np.ndarray, count: int) -> None:
    """One query, and 64 at once, in a million vectors."""
    wanted = queries(vectors, count)
    benchmark.pedantic(
        search_exactly,
        (vectors, wanted, NEAREST, compare_by_product),
        rounds=3,
        warmup_rounds=1,
    )
    benchmark.extra_info["peak_gib"] = peak_gib()


def test_approximate_search(benchmark: Any, vectors: np.ndarray, tmp_path: Path) -> None:
    """64 queries, and their recall of the ten nearest, by cells that are searched."""
    pytest.importorskip("faiss")
    from r2m.inference.search.approximate_search import ApproximateSearch, write_approximate

    started = time.perf_counter()
    write_approximate(vectors, tmp_path / "index")
    benchmark.extra_info["seconds_to_build"] = time.perf_counter() - started
    wanted = queries(vectors, 64)
    exact = search_exactly(vectors, wanted, NEAREST, compare_by_product).rows
    for probes in (1, 8, 32, 128):
        search = ApproximateSearch(tmp_path / "index", probes)
        started = time.perf_counter()
        found = search(wanted, NEAREST).rows
        seconds = time.perf_counter() - started
        shared = [len({*a} & {*b}) / NEAREST for a, b in zip(found, exact, strict=True)]
        benchmark.extra_info[f"probes_{probes}"] = {
            "seconds_of_64": seconds,
            "recall": float(np.mean(shared)),
        }
    benchmark.pedantic(ApproximateSearch(tmp_path / "index"), (wanted[:1], NEAREST), rounds=5)
