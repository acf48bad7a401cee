"""Rows without words: their status does not depend on the other rows of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from r2m.serving.export import Exported


def ask(exported: Exported, signature: str, **inputs: Any) -> dict[str, np.ndarray]:
    loaded = tf.saved_model.load(str(exported.folder))
    found = loaded.signatures[signature](**{name: tf.constant(x) for name, x in inputs.items()})
    return {name: tensor.numpy() for name, tensor in found.items()}


def test_items_without_concepts_have_empty_captions(exported: Callable[[str], Exported]) -> None:
    for words in (np.zeros([2, 0], object), np.full([2, 1], b"")):
        found = ask(
            exported("r2m"), "from_concepts",
            concepts=tf.constant(words, tf.string), concept_lengths=[0, 0],
        )  # fmt: skip
        assert found["status"].tolist() == [b"empty: the item has no concepts"] * 2
        assert found["captions"].tolist() == [[b""] * 3] * 2


def test_images_without_texts_have_empty_ranks(
    exported: Callable[[str], Exported], image_files: list[bytes]
) -> None:
    texts = tf.zeros([2, 0], tf.string)
    found = ask(
        exported("vse"), "rank", images=[image_files[0], b""], texts=texts, text_lengths=[0, 0]
    )
    assert found["status"].tolist() == [b"ok", b"empty: the image has zero bytes"]
    assert found["order"].shape == found["similarities"].shape == (2, 0)
