"""Files of the original embedding with small random weights, and its encoders in NumPy."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path

import numpy as np

WORDS = ("a", "dog", "runs", "rare", "rarer")
WORD_SIZE, SIZE, FEATURES = 3, 4, 6


def write_kiros(path: Path, encoder: str) -> dict[str, np.ndarray]:
    """Writes the three files as the released code does and returns the weights."""
    rng = np.random.default_rng(0)
    word_size = WORD_SIZE if encoder == "gru" else SIZE
    shapes: dict[str, tuple[int, ...]] = {
        "Wemb": (len(WORDS), word_size),
        "ff_image_W": (FEATURES, SIZE),
        "ff_image_b": (SIZE,),
    }
    if encoder == "gru":
        shapes |= {
            "encoder_W": (word_size, 2 * SIZE),
            "encoder_U": (SIZE, 2 * SIZE),
            "encoder_b": (2 * SIZE,),
            "encoder_Wx": (word_size, SIZE),
            "encoder_Ux": (SIZE, SIZE),
            "encoder_bx": (SIZE,),
        }
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(path, **weights)
    dictionary = collections.OrderedDict((word, i + 2) for i, word in enumerate(WORDS))
    options = {"encoder": encoder, "dim": SIZE, "dim_word": word_size, "margin": 0.2}
    for suffix, content in ((".pkl", options), (".dictionary.pkl", dictionary)):
        path.with_name(path.name + suffix).write_bytes(pickle.dumps(content, protocol=2))
    return weights


def encode_sentence(weights: dict[str, np.ndarray], words: list[str]) -> np.ndarray:
    """Computes the vector of a sentence by the equations of the released code."""
    ids = {word: i + 2 for i, word in enumerate(WORDS)}
    rows = [number if (number := ids.get(word, 1)) < len(WORDS) else 1 for word in words] + [0]
    inputs = weights["Wemb"].astype(np.float64)[rows]
    if "encoder_W" not in weights:
        hidden = inputs.sum(0)
    else:
        hidden = np.zeros(SIZE)
        for x in inputs:
            gates = hidden @ weights["encoder_U"] + x @ weights["encoder_W"] + weights["encoder_b"]
            reset, update = np.split(1 / (1 + np.exp(-gates)), 2)
            new = np.tanh(
                reset * (hidden @ weights["encoder_Ux"])
                + x @ weights["encoder_Wx"]
                + weights["encoder_bx"]
            )
            hidden = update * hidden + (1 - update) * new
    return hidden / np.linalg.norm(hidden)


def encode_image(weights: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """Computes the vector of an image from features of norm 1."""
    vector = features @ weights["ff_image_W"].astype(np.float64) + weights["ff_image_b"]
    return vector / np.linalg.norm(vector)
