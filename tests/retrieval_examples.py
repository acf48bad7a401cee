"""Random embeddings, and the published evaluation, for several test files."""

from __future__ import annotations

import numpy as np

from r2m.evaluation.similarity_blocks import COSINE


def embedding(images, captions_per_image, dimensions=16, seed=0, noise=1.0):
    """Returns unit image and caption vectors and owners; captions resemble their images."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(images), captions_per_image)
    vectors = rng.normal(size=(images, dimensions))
    texts = vectors[owners] + noise * rng.normal(size=(len(owners), dimensions))
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, texts)]
    return unit[0].astype(np.float32), unit[1].astype(np.float32), owners


def all_similarities(images, captions, similarity):
    if similarity == COSINE:
        return images.astype(np.float64) @ captions.T.astype(np.float64)
    above = np.maximum(captions[None].astype(np.float64) - images[:, None], 0)
    return -np.sqrt((above**2).sum(-1))


def sorted_ranks(scores, owners):
    """Computes ranks as the published evaluation, by a full sort per query."""
    i2t = [
        min(
            int(np.flatnonzero(np.argsort(-row) == own)[0])
            for own in np.flatnonzero(owners == image)
        )
        for image, row in enumerate(scores)
    ]
    t2i = [
        int(np.flatnonzero(np.argsort(-scores[:, caption]) == owners[caption])[0])
        for caption in range(scores.shape[1])
    ]
    return np.array(i2t), np.array(t2i)
