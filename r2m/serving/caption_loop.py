"""Captions with the two graphs of this folder: encoder and step, looped by a beam search.

    python caption.py IMAGE ...

Needs numpy, Pillow and onnxruntime or ai-edge-litert. Models of stored features and of concepts
take NPZ files with the inputs of the encoder, as config.json names them, instead of images.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from r2m.serving.portable_runtime import Graph, join_words, open_graph, read_inputs


def search(encode: Graph, step: Graph, inputs: dict[str, Any], own: dict[str, Any]) -> list[int]:
    """Returns the ids of the most likely caption of one image."""
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


def main(paths: Sequence[str]) -> None:
    """Prints a caption per file."""
    folder = Path(__file__).parent
    own = json.loads((folder / "config.json").read_text("utf-8"))["graphs"]
    lines = (folder / "vocabulary.txt").read_text("utf-8").splitlines()
    words = [line.split("\t")[0] for line in lines]
    encode, step = (open_graph(folder, own[part]) for part in ("encoder", "step"))
    for path in paths:
        ids = search(encode, step, read_inputs(path, own["image"]), own)
        print(f"{path}\t{join_words(ids, words, own['unspaced'])}")


if __name__ == "__main__":
    main(sys.argv[1:])
