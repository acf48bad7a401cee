"""Inputs, graphs and outputs of `caption.py`, which is in the same folder of an export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Arrays by name -> arrays by name.
Graph = Callable[[dict[str, Any]], dict[str, Any]]


def open_graph(folder: Path, graph: dict[str, Any]) -> Graph:
    """Opens a graph of the export in `folder`, which config.json describes as `graph`."""
    file = str(folder / graph["file"])
    if file.endswith(".onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(file)
        names = [one.name for one in session.get_inputs()]
        return lambda given: dict(
            zip(graph["outputs"], session.run(None, {n: given[n] for n in names}), strict=True)
        )
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=file).get_signature_runner()
    names = list(run.get_input_details())
    return lambda given: run(**{name: given[name] for name in names})


def read_inputs(path: str, image: dict[str, Any]) -> dict[str, Any]:
    """Returns the inputs of the encoder for an image file, or those of an NPZ file."""
    if path.endswith(".npz"):
        return dict(np.load(path))
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    side, size = image["resize"], image["size"]
    factor = side / min(picture.size) if image["keeps_proportions"] else 0
    sides = [max(side, int(factor * edge)) for edge in picture.size]
    kind = Image.Resampling.BICUBIC if image["bicubic"] else Image.Resampling.BILINEAR
    picture = picture.resize(sides, kind)
    left, top = (sides[0] - size) // 2, (sides[1] - size) // 2
    cut = picture.crop((left, top, left + size, top + size))
    return {"pixels": np.asarray(cut, np.float32)[None]}


def join_words(ids: Sequence[int], words: Sequence[str], unspaced: Sequence[int]) -> str:
    """Returns words as a sentence, without spaces next to words of scripts that have none."""
    text = ""
    for place, number in enumerate(ids):
        joined = not place or number in unspaced or ids[place - 1] in unspaced
        text += words[number] if joined else f" {words[number]}"
    return text
