"""Captions with the two graphs of this folder: encoder and step, looped by a beam search.

    python caption.py IMAGE ...

Needs numpy, Pillow and onnxruntime or ai-edge-litert. Models of stored features and of concepts
take NPZ files with the inputs of the encoder, as config.json names them, instead of images.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Graph = Callable[[dict[str, Any]], dict[str, Any]]

FOLDER = Path(__file__).parent


def open_graph(graph: dict[str, Any]) -> Graph:
    """Returns a function: arrays by name -> arrays by name."""
    file = str(FOLDER / graph["file"])
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


def search(encode: Graph, step: Graph, inputs: dict[str, Any], own: dict[str, Any]) -> list[int]:
    """Returns the ids of the likeliest caption of one image."""
    width, alpha, most = own["beam_size"], own["length_normalization"], own["max_length"]
    rows = {name: np.repeat(x, width, axis=0) for name, x in encode(inputs).items()}
    living: list[list[int]] = [[]] * width
    finished: list[tuple[float, list[int]]] = []
    scores = np.array([0.0] + [-np.inf] * (width - 1))  # equal at the start: one is extended
    tokens = np.full(width, own["start_id"], np.int32)
    for length in range(1, most + 1):
        found = step({**rows, "tokens": tokens})
        log_probs = np.array(found["log_probs"], np.float64)
        log_probs[:, own["suppressed"]] = -np.inf
        totals = (scores[:, None] + log_probs).ravel()
        best = np.argsort(-totals, kind="stable")[: 2 * width if width > 1 else 1]
        parents, words = np.divmod(best, log_probs.shape[1])
        for place in np.flatnonzero(words == own["end_id"]):
            finished.append((totals[best[place]] / length**alpha, living[parents[place]]))
        finished = sorted(finished, key=lambda one: -one[0])[:width]
        kept = np.flatnonzero(words != own["end_id"])[:width]
        if not kept.size or (finished and finished[0][0] >= totals[best[kept[0]]] / most**alpha):
            break
        parents, tokens, scores = parents[kept], words[kept].astype(np.int32), totals[best[kept]]
        living = [[*living[place], word] for place, word in zip(parents, tokens, strict=True)]
        rows |= {n[5:]: x[parents] for n, x in found.items() if n.startswith("next_")}
    return finished[0][1] if finished else living[0]


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
    """Returns words as a sentence, without spaces beside words of scripts that have none."""
    text = ""
    for place, number in enumerate(ids):
        joined = not place or number in unspaced or ids[place - 1] in unspaced
        text += words[number] if joined else f" {words[number]}"
    return text


def main(paths: Sequence[str]) -> None:
    """Prints a caption per file."""
    own = json.loads((FOLDER / "config.json").read_text("utf-8"))["graphs"]
    lines = (FOLDER / "vocabulary.txt").read_text("utf-8").splitlines()
    words = [line.split("\t")[0] for line in lines]
    encode, step = open_graph(own["encoder"]), open_graph(own["step"])
    for path in paths:
        ids = search(encode, step, read_inputs(path, own["image"]), own)
        print(f"{path}\t{join_words(ids, words, own['unspaced'])}")


if __name__ == "__main__":
    main(sys.argv[1:])
