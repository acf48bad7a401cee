"""Servers, clients and images of the benchmarks of serving.

`R2M_SERVING_IMAGES` names a folder of images; without it they are drawn.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from turns import Way

import r2m

SERVE = [sys.executable, "-m", "r2m.cli.serve", "--port=0"]


def images(count: int) -> list[bytes]:
    """Returns images as files: those of the folder, or JPEGs of 500 x 375 that all differ."""
    if folder := os.environ.get("R2M_SERVING_IMAGES"):
        files = sorted(path for path in Path(folder).iterdir() if path.is_file())
        assert len(files) >= count, f"{folder} has {len(files)} files, not {count}"
        return [path.read_bytes() for path in files[:count]]
    found, rng = [], np.random.default_rng(0)
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8))
        stream = io.BytesIO()
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(stream, "JPEG")
        found.append(stream.getvalue())
    return found


@contextlib.contextmanager
def serving(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Starts a server and yields its process and port; checks that it exits with code 0."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        ports = (re.match(r"serving at .*:(\d+)$", line) for line in process.stdout)
        found = next(filter(None, ports), None)
        assert found is not None, f"the server ended before it listened: {command}"
        yield process, int(found[1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def by_api(run: str, beam: int, files: list[bytes]) -> Way:
    """Returns a way that captions in this process, without a server."""
    captioner = r2m.load(run, beam_size=beam)

    def caption(batch: int) -> int:
        found = captioner.caption(files[:batch], batch_size=batch, alternatives=0)
        assert all(one.error is None for one in found)
        return batch

    return caption


def by_server(port: int, model: str, files: list[bytes]) -> Way:
    """Returns a way that sends one request per batch to a server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    encoded = [{"b64": base64.b64encode(data).decode()} for data in files]

    def ask(batch: int) -> int:
        body = json.dumps({"inputs": encoded[:batch]})
        connection.request("POST", f"/v1/models/{model}:predict", body)
        answer = json.loads(connection.getresponse().read())
        assert answer["outputs"]["status"] == ["ok"] * batch, answer
        return batch

    return ask
