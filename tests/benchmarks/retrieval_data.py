"""Batches that embeddings of published sizes are trained on, for TensorFlow and PyTorch alike.

128 pairs of an image, 36 regions of 2,048, and a caption; NumPy only.
"""

from __future__ import annotations

import numpy as np

VOCABULARY, WORD_SIZE, UNITS, PAIRS, MARGIN = 10_000, 300, 1_024, 128, 0.2
STEPS = 4


def batch(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regions, tokens int[B, T] and lengths int[B], both markers included, falling.

    Captions of 6 to 16 words, as long as COCO's.
    """
    rng = np.random.default_rng(seed)
    lengths = -np.sort(-np.clip(rng.normal(10.5, 2.4, PAIRS).round(), 6, 16).astype(int)) + 2
    tokens = rng.integers(4, VOCABULARY, (PAIRS, lengths[0]))
    tokens[:, 0] = 1
    for row, length in zip(tokens, lengths, strict=True):
        row[length - 1], row[length:] = 2, 0
    return rng.random((PAIRS, 36, 2_048)).astype(np.float32), tokens, lengths
