"""Our server with a captioner of plain PyTorch behind it, see `test_serving_latency.py`.

    python tests/benchmarks/torch_server.py PYTHON SETTINGS

PYTHON is an interpreter with PyTorch, which this process does not have. Pillow decodes and resizes
the images in this process, and `torch_image_captioner.py` captions them in a separate process, with
SETTINGS.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from r2m.serving.batching import BatchLimits
from r2m.serving.listening import bind, serve, url_of
from r2m.serving.loaded_export import LoadedExport, LoadedSignature
from r2m.serving.rest_contract import STRING, TensorInfo
from r2m.serving.server import ServerLimits, make_app

SCRIPT = Path(__file__).with_name("torch_image_captioner.py")


def pixels(data: bytes, side: int) -> np.ndarray:
    """Returns an image as uint8 [side, side, 3]."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))


def main(python: str, settings: str) -> None:
    side = json.loads(settings)["side"]
    child = subprocess.Popen(
        [python, str(SCRIPT), settings], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None and child.stdout is not None
    given, found, lock = child.stdin, child.stdout, threading.Lock()

    def caption(columns: dict[str, np.ndarray]) -> dict[str, Any]:
        images = np.stack([pixels(data, side) for data in columns["images"]])
        with lock:
            given.write(f"{len(images)} {side}\n".encode() + images.tobytes())
            given.flush()
            rows = json.loads(found.readline())
        texts = np.empty([len(rows), 1], object)
        texts[:, 0] = [" ".join(map(str, row)) for row in rows]
        status = np.empty(len(rows), object)
        status[:] = b"ok"
        return {"captions": texts, "status": status}

    info = TensorInfo(STRING, (None,))
    outputs = {"captions": TensorInfo(STRING, (None, 1)), "status": info}
    signature = LoadedSignature({"images": info}, outputs, caption)
    export = LoadedExport("torch", 1, {"serving_default": signature}, {}, Path())
    bound = bind("127.0.0.1", 0)
    limits = ServerLimits(BatchLimits(size=64), seconds=300)
    serve(
        make_app([export], limits),
        bound,
        300,
        lambda: print(f"serving at {url_of(bound)}", flush=True),
    )
    given.close()
    child.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
