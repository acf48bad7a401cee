"""Latency and throughput from image bytes to strings, for batches of 1 to 64 images.

    R2M_LATENCY_RUNS=workspace/runs/updown,workspace/runs/att2in2 \\
        pytest tests/benchmarks/test_serving_latency.py -s

A client sends requests to r2m-serve one at a time. This is compared with the API in a process
without a server. With R2M_TORCH_PYTHON=PYTHON, an interpreter with PyTorch, it is also compared
with a plain PyTorch captioner behind the same server, which runs the backbone for all images of a
request at once and searches image by image. The PyTorch captioner has the sizes and caption lengths
of the run and random weights. It is omitted if the captioner or the backbone of a run is not
implemented in PyTorch. All take turns, request by request, and the table shows medians. Without
R2M_LATENCY_RUNS a small run is used. R2M_SERVING_IMAGES names a folder of at least 64 images,
R2M_LATENCY_TURNS is the number of requests per cell.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_ways import SERVE, by_api, by_server, images, serving
from turns import TORCH_PYTHON, Turn, apart

import r2m
from r2m.serving.export import export_run

pytestmark = pytest.mark.timeout(7200)

BATCHES = (1, 2, 4, 8, 16, 32, 64)
RUNS = [path for path in os.environ.get("R2M_LATENCY_RUNS", "").split(",") if path]
TURNS = 1 + int(os.environ.get("R2M_LATENCY_TURNS", "5"))  # the first traces or warms up
# Our captioner -> its counterpart in `torch_captioners.py`.
IN_TORCH = {"updown": "updown", "att2in2": "att2in2"}


@pytest.fixture(params=RUNS or [""], ids=[Path(path).name for path in RUNS] or ["small"])
def run(request: Any) -> str:
    return request.param or str(request.getfixturevalue("old_runs") / "runs/att2in2/cross_entropy")


@pytest.mark.parametrize("beam", [1, 3], ids=["greedy", "beam 3"])
def test_latency(run: str, beam: int, tmp_path: Path) -> None:
    files = images(max(BATCHES))
    exported = export_run(run, tmp_path / "served", decoding={"beam_size": beam})
    flags = [f"--model={exported.folder.parent}", "--max_batch_size=64", "--timeout_seconds=300"]
    words = [len(one.text.split()) for one in r2m.load(run, beam_size=beam).caption(files[:32])]
    torch = torch_settings(exported.folder, beam, round(float(np.mean(words))))
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(serving([*SERVE, *flags]))[1]
        started = {
            "API": partial(by_api, run, beam, files),
            "server": partial(by_server, port, "served", files),
        }
        if torch is not None and TORCH_PYTHON:
            script = str(Path(__file__).with_name("torch_server.py"))
            command = [sys.executable, script, TORCH_PYTHON, json.dumps(torch)]
            port = stack.enter_context(serving(command))[1]
            started["PyTorch, same server"] = partial(by_server, port, "torch", files)
        takes = {name: stack.enter_context(apart(way)) for name, way in started.items()}
        print("\n" + "\n".join(table(f"{run}, beam {beam}", takes)))


def table(title: str, takes: dict[str, Turn]) -> Iterator[str]:
    """Yields the lines of a table in Markdown: milliseconds per request, images per second."""
    yield (
        f"| {title}: images per request | "
        + " | ".join(f"{name}, ms | images/s" for name in takes)
        + " |"
    )
    yield "|---:|" + "---:|---:|" * len(takes)
    for batch in BATCHES:
        speeds: dict[str, list[float]] = {name: [] for name in takes}
        for _ in range(TURNS):
            for name, take in takes.items():
                speeds[name].append(take(batch))
        medians = [float(np.median(own[1:])) for own in speeds.values()]
        cells = [f"{1000 * batch / speed:.1f} | {speed:.1f}" for speed in medians]
        yield f"| {batch} | " + " | ".join(cells) + " |"


def torch_settings(export: Path, beam: int, words: int) -> dict[str, Any] | None:
    """Returns the settings of `torch_image_captioner.py`; None if it does not have the model."""
    config = json.loads((export / "config.json").read_text())
    model, features = config["runs"][0]["config"]["model"], config["features"] or {}
    name = IN_TORCH.get(model.get("captioner"))
    if name is None or not str(features.get("name")).startswith("EfficientNetLite"):
        return None
    return {
        "model": name,
        "backbone": features["name"],
        "side": features["image_size"],
        "units": model["units"],
        "vocabulary": len((export / "vocabulary.txt").read_text().splitlines()),
        "beam": beam,
        "words": max(words, 1),
    }
