"""10,000 mixed good and bad requests to a server, 32 at a time: with batching and without.

Answers and memory are asserted, times only reported. `R2M_LOAD_EXPORT` names an exported captioner
of images, `R2M_LOAD_REQUESTS` another number of requests.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import captions
from r2m.serving.export import export_run

REQUESTS = int(os.environ.get("R2M_LOAD_REQUESTS", "10000"))
AT_ONCE = 32
WAYS = {"batches": [], "alone": ["--max_batch_size=1"]}
Request = tuple[str, bytes]


@pytest.fixture(scope="module")
def export(old_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("R2M_LOAD_EXPORT"):
        return Path(given)
    folder = tmp_path_factory.mktemp("exports") / "att2in2"
    export_run(old_runs / "runs/att2in2/cross_entropy", folder)
    return folder


@pytest.fixture(scope="module")
def requests(old_runs: Path, export: Path) -> list[Request]:
    """Good images by both routes, damaged ones, and bodies that the contract refuses."""
    records = captions.open_captions(str(old_runs / "records/captions"))
    images = [example["image"] for example in captions.examples(records, "val")]
    images += [b"", b"no picture", images[0][:200]]
    predict = f"/v1/models/{export.absolute().name}:predict"
    encoded = [{"b64": base64.b64encode(data).decode()} for data in images]
    bodies = [{"instances": [image]} for image in encoded] + [{"inputs": [1]}, {"instances": []}]
    found = [(predict, json.dumps(body).encode()) for body in bodies]
    return [*found, (predict, b"{"), *(("/caption", data) for data in images)]


@pytest.fixture(params=list(WAYS))
def server(request: Any, export: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    flags = [f"--model={export}", "--port=0", "--timeout_seconds=120", *WAYS[request.param]]
    process = subprocess.Popen(
        [sys.executable, "-m", "r2m.cli.serve", *flags], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        ports = (re.match(r"serving at .*:(\d+)$", line) for line in process.stdout)
        yield process, int(next(port for port in ports if port)[1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_no_answer_is_lost_or_swapped_and_memory_is_flat(
    benchmark: Any, server: tuple[subprocess.Popen[str], int], requests: list[Request]
) -> None:
    process, port = server
    local = threading.local()

    def ask(number: int) -> tuple[int, Any, float]:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        path, body = requests[number % len(requests)]
        start = time.perf_counter()
        local.connection.request("POST", path, body)
        response = local.connection.getresponse()
        content = json.loads(response.read())
        return response.status, _without_numbers(content), time.perf_counter() - start

    expected = [ask(number)[:2] for number in range(len(requests))]
    warm = max(REQUESTS // 5, AT_ONCE)  # memory grows until all batch sizes were seen
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(ask, range(warm)))
        before = _resident(process.pid)
        numbers = range(REQUESTS)
        answers = benchmark.pedantic(lambda: list(pool.map(ask, numbers)), rounds=1)
        after = _resident(process.pid)
    assert [answer[:2] for answer in answers] == [expected[n % len(expected)] for n in numbers]
    assert after < 1.05 * before, (before, after)
    seconds = [answer[2] for answer in answers]
    for name, value in zip(
        ("p50", "p95", "p99"), np.percentile(seconds, [50, 95, 99]), strict=True
    ):
        benchmark.extra_info[name] = round(float(value), 4)
    benchmark.extra_info["requests_per_second"] = round(REQUESTS / benchmark.stats["max"], 1)
    benchmark.extra_info["megabytes"] = [round(before / 1e6), round(after / 1e6)]


def _without_numbers(content: Any) -> Any:
    """Returns an answer without scores, whose last digits depend on the other items of a batch."""
    if isinstance(content, dict):
        return {key: _without_numbers(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_numbers(value) for value in content]
    return None if isinstance(content, float) else content


def _resident(process: int) -> int:
    """Returns the bytes of memory of a process (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])
