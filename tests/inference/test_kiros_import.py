"""The original embedding as a run, against its encoders in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kiros_files import FEATURES, encode_image, encode_sentence, write_kiros

import r2m
from r2m.inference.kiros_import import import_kiros
from tfrecords.core.errors import InputError

SENTENCES = ["a dog runs", "dog", "a Dog runs . a dog", "rare dog", "a a a a a a a dog"]


@pytest.mark.parametrize("encoder", ["gru", "bow"])
def test_vectors_are_those_of_the_released_code(tmp_path: Path, encoder: str) -> None:
    weights = write_kiros(tmp_path / "f8k.npz", encoder)
    import_kiros(tmp_path / "f8k.npz", tmp_path / "runs")
    run = r2m.load(tmp_path / "runs")
    expected = [encode_sentence(weights, text.split()) for text in SENTENCES]
    np.testing.assert_allclose(run.encode_sentences(SENTENCES), expected, atol=1e-5)
    features = np.random.default_rng(1).normal(size=(3, FEATURES))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    found = run.model.encode_images({"global": features.astype("f")}).numpy()
    np.testing.assert_allclose(found, [encode_image(weights, row) for row in features], atol=1e-5)
    assert run.vocabulary.words[3:-1] == ("a", "dog", "runs")


def test_hand_computed_bag_of_words(tmp_path: Path) -> None:
    weights = write_kiros(tmp_path / "f8k.npz", "bow")
    weights["Wemb"] = np.float32([[0, 0, 1, 0], [9, 9, 9, 9], [1, 0, 0, 0], [0, 2, 1, 0], [0] * 4])
    np.savez(tmp_path / "f8k.npz", **weights)
    run = import_kiros(tmp_path / "f8k.npz", tmp_path / "runs")
    # a + dog + <eos> = (1, 2, 2, 0), of length 3.
    (vector,) = run.encode_sentences(["a dog"])
    np.testing.assert_allclose(vector, [1 / 3, 2 / 3, 2 / 3, 0], atol=1e-6)


def test_runs_are_not_replaced_and_images_need_records(tmp_path: Path) -> None:
    write_kiros(tmp_path / "f8k.npz", "gru")
    run = import_kiros(tmp_path / "f8k.npz", tmp_path / "runs")
    with pytest.raises(InputError, match="ranking exists: give another --output"):
        import_kiros(tmp_path / "f8k.npz", tmp_path / "runs")
    with pytest.raises(InputError, match="features that R2M did not compute"):
        run.encode_images([np.zeros((8, 8, 3), np.uint8)])
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["ranking"]
