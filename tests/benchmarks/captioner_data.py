"""Data for training and search of captioners of published sizes, for TensorFlow and PyTorch.

10 images of 36 regions of 2,048 with 5 captions each; NumPy only.
"""

from __future__ import annotations

import numpy as np

# Words and the four markers.
VOCABULARY, LENGTH, IMAGES, CAPTIONS = 9_487 + 4, 17, 10, 5
STEPS = 4
DECODED, ALONE, BEAM, LONGEST = 100, 10, 5, 16
REGION_SIZE = 2_048


def batch(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regions, tokens int[B * S, T + 1] and lengths int[B * S].

    Captions of 7 to 17 words, end marker included, as long as COCO's.
    """
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.normal(10.5, 2.4, IMAGES * CAPTIONS).round(), 6, 16).astype(int) + 1
    tokens = rng.integers(4, VOCABULARY, (len(lengths), LENGTH + 1))
    tokens[:, 0] = 1
    for row, length in zip(tokens, lengths, strict=True):
        row[length], row[length + 1 :] = 2, 0
    return rng.random((IMAGES, 36, REGION_SIZE)).astype(np.float32), tokens, lengths


def all_images() -> tuple[np.ndarray, np.ndarray]:
    """Returns regions of the images to caption, and the lengths that their captions must have."""
    rng = np.random.default_rng(0)
    words = np.clip(rng.normal(10.5, 2.4, DECODED).round(), 6, LONGEST - 1).astype(int)
    return rng.random((DECODED, 36, REGION_SIZE)).astype(np.float32), words
