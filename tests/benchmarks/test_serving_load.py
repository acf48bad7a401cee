"""10,000 mixed good and bad requests to a server, 32 at a time: with batching and without.

    R2M_LOAD_EXPORT=workspace/exports/updown pytest tests/benchmarks/test_serving_load.py -s

Answers and memory are asserted; p50, p95, p99 and images per second are printed. R2M_LOAD_EXPORT
names an exported captioner of images instead of a small one, R2M_LOAD_REQUESTS another number of
requests, R2M_SERVING_IMAGES a folder of at least 48 images.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from serving_ways import SERVE, images, serving

from r2m.serving.export import export_run

pytestmark = pytest.mark.timeout(7200)

REQUESTS = int(os.environ.get("R2M_LOAD_REQUESTS", "10000"))
AT_ONCE = 32
IMAGES = 48
WAYS = {"batches": [], "alone": ["--max_batch_size=1"]}
# The head of a PNG of 100 megapixels.
LARGE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
# Scores depend a little on the other items of a batch.
TOLERANCE = 1e-3


class Request(NamedTuple):
    """A request and its expected answer."""

    path: str
    body: bytes
    code: int
    is_good: bool


class Answer(NamedTuple):
    """An answer and its latency in seconds."""

    code: int
    content: Any
    seconds: float


@pytest.fixture(scope="module")
def export(old_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("R2M_LOAD_EXPORT"):
        return Path(given)
    folder = tmp_path_factory.mktemp("exports") / "att2in2"
    export_run(old_runs / "runs/att2in2/cross_entropy", folder)
    return folder


@pytest.fixture(scope="module")
def requests(export: Path) -> list[Request]:
    """Returns valid images for both routes, invalid images, and bodies that the API rejects."""
    predict = f"/v1/models/{export.absolute().name}:predict"
    good = images(IMAGES)
    bad = [b"", b"no picture", good[0][: len(good[0]) // 2], LARGE]
    found = []
    for data in [*good, *(4 * bad)]:
        body = json.dumps({"instances": [{"b64": base64.b64encode(data).decode()}]}).encode()
        found.append(Request(predict, body, 200, data in good))
        found.append(Request("/caption", data, 200, data in good))
    for body in (b'{"inputs": [1]}', b'{"instances": []}', b"{", b"[" * 10_000):
        found += 4 * [Request(predict, body, 400, False)]
    found += 4 * [Request("/v1/models/no_model:predict", b"{}", 404, False)]
    np.random.default_rng(0).shuffle(found)  # type: ignore[arg-type]
    return [Request(*own) for own in found]


@pytest.fixture(params=list(WAYS))
def server(request: Any, export: Path) -> Iterator[tuple[str, subprocess.Popen[str], int]]:
    flags = [f"--model={export}", "--timeout_seconds=120", *WAYS[request.param]]
    with serving([*SERVE, *flags]) as (process, port):
        yield request.param, process, port


def test_no_answer_is_lost_or_swapped_and_memory_is_flat(
    server: tuple[str, subprocess.Popen[str], int], requests: list[Request]
) -> None:
    way, process, port = server
    local = threading.local()

    def ask(number: int) -> Answer:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        own = requests[number % len(requests)]
        start = time.perf_counter()
        local.connection.request("POST", own.path, own.body)
        response = local.connection.getresponse()
        content = json.loads(response.read())
        return Answer(response.status, content, time.perf_counter() - start)

    expected = [ask(number) for number in range(len(requests))]
    assert [answer.code for answer in expected] == [own.code for own in requests]
    # All images have different answers, so that a swapped answer is detected.
    texts = {
        json.dumps(own.content) for own, r in zip(expected, requests, strict=True) if r.is_good
    }
    assert len(texts) == 2 * IMAGES
    warm = max(REQUESTS // 5, AT_ONCE)  # memory grows until all batch sizes were seen
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(ask, range(warm)))
        before, start = resident(process.pid), time.perf_counter()
        answers = list(pool.map(ask, range(REQUESTS)))
        seconds, after = time.perf_counter() - start, resident(process.pid)
    for number, answer in enumerate(answers):
        own = expected[number % len(expected)]
        assert answer.code == own.code, (number, answer)
        assert is_same(answer.content, own.content), (number, answer, own)
    captioned = sum(requests[number % len(requests)].is_good for number in range(REQUESTS))
    times = np.percentile([1000 * answer.seconds for answer in answers], [50, 95, 99])
    print(
        f"\n{way}: {REQUESTS} requests, {AT_ONCE} at a time: {REQUESTS / seconds:.0f} requests/s, "
        f"{captioned / seconds:.1f} images/s, p50 {times[0]:.1f} ms, p95 {times[1]:.1f} ms, "
        f"p99 {times[2]:.1f} ms; memory {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after"
    )
    assert after < 1.05 * before


def is_same(one: Any, other: Any) -> bool:
    """Returns whether two answers are equal but for rounding errors."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < TOLERANCE
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


def resident(process: int) -> int:
    """Returns the bytes of memory of a process (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])
