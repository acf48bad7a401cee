"""Vectors of validation images and sentences for TensorBoard's embedding projector."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from r2m.evaluation.output_files import write_whole

CONFIG_FILE = "projector_config.pbtxt"
VECTORS_FILE, LABELS_FILE = "embedding_vectors.tsv", "embedding_labels.tsv"
# More points are hard to distinguish and slow to draw.
_IMAGES = 100
_CONFIG = f"""embeddings {{
  tensor_name: "validation"
  tensor_path: "{VECTORS_FILE}"
  metadata_path: "{LABELS_FILE}"
}}
"""


def write_projector(
    folder: Path,
    names: Sequence[str],
    images: np.ndarray,
    owners: np.ndarray,
    texts: Sequence[str],
    sentences: np.ndarray,
) -> None:
    """Writes the first images and all of their captions, each point with its kind and text.

    Args:
        folder: folder of the run, which TensorBoard reads.
        names: names of the images.
        images: float32[N, D].
        owners: int[M], index of the image of each caption.
        texts: texts of the captions.
        sentences: float32[M, D].
    """
    own = np.flatnonzero(owners < _IMAGES)
    vectors = np.concatenate([images[:_IMAGES], sentences[own]])
    table = io.StringIO()
    np.savetxt(table, vectors, fmt="%.5g", delimiter="\t")
    labels = [("image", name, name) for name in names[:_IMAGES]]
    labels += [("caption", names[owners[i]], texts[i]) for i in own.tolist()]
    lines = ["\t".join(" ".join(cell.split()) for cell in row) for row in labels]
    write_whole(folder / VECTORS_FILE, table.getvalue().encode())
    write_whole(folder / LABELS_FILE, ("\n".join(["kind\timage\ttext", *lines]) + "\n").encode())
    write_whole(folder / CONFIG_FILE, _CONFIG.encode())
