"""Zero-shot labels: CLIP and SigLIP of KerasHub, small, random, without a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from detector_toys import bright_image, options

from tfrecords.core.errors import InputError
from tfrecords.detectors.opening import open_detector
from tfrecords.detectors.zero_shot import ZeroShotLabeler
from tfrecords.pictures.boxes import Detections

keras_hub = pytest.importorskip("keras_hub", reason="the extra [keras_hub] is not installed")

SIDE, TOKENS = 32, 60
WORDS = ("cat", "running", "red")
IMAGES = [
    np.random.default_rng(0).integers(0, 255, (48, 30, 3), np.uint8),
    bright_image(40, 60, (5, 10, 30, 30)),
    bright_image(SIDE, SIDE, (1, 1, 9, 30)),
]


def encoders(family: str) -> dict[str, Any]:
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "intermediate_dim": 16}
    text = getattr(keras_hub.models, f"{family}TextEncoder")
    text_sizes = {"vocabulary_size": TOKENS, "embedding_dim": 16, "max_sequence_length": 24}
    if family == "SigLIP":
        text_sizes["projection_dim"] = 16
    vision = getattr(keras_hub.models, f"{family}VisionEncoder")
    return {
        "vision_encoder": vision(patch_size=16, image_shape=(SIDE, SIDE, 3), **sizes),
        "text_encoder": text(**text_sizes, **sizes),
    }


def preprocessor() -> Any:
    letters = "abcdefghijklmnopqrstuvwxyz"
    parts = [*letters, *(f"{letter}</w>" for letter in letters), "ca"]
    names = ["<|startoftext|>", "<|endoftext|>", *parts]
    return keras_hub.models.CLIPPreprocessor(
        keras_hub.models.CLIPTokenizer({name: i for i, name in enumerate(names)}, ["c a"]),
        keras_hub.layers.CLIPImageConverter(image_size=(SIDE, SIDE), scale=1 / 255),
        sequence_length=24,
    )


@pytest.fixture(scope="module")
def clip() -> Any:
    keras.utils.set_random_seed(1)
    backbone = keras_hub.models.CLIPBackbone(projection_dim=8, **encoders("CLIP"))
    # Of random encoders all sentences are alike.
    for variable in backbone.text_encoder.trainable_variables:
        variable.assign(variable * 20)
    return backbone


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(WORDS))
    return path


def scores(found: list[Detections | str]) -> np.ndarray:
    """Returns the scores in the order of the words: [N, 3]."""
    rows = []
    for objects in found:
        assert isinstance(objects, Detections)
        own = dict(zip(objects.class_names, objects.scores, strict=True))
        rows.append([own[word] for word in WORDS])
    return np.array(rows)


def logits(backbone: Any, prompts: list[str]) -> np.ndarray:
    """Returns the logits by the whole model: [images, prompts]."""
    ready = preprocessor()
    tokens = ready({"images": None, "prompts": tf.constant(prompts)})["token_ids"]
    pixels = tf.concat([ready.image_converter(image[None]) for image in IMAGES], 0)
    return backbone({"images": pixels, "token_ids": tokens})["vision_logits"].numpy()


def test_scores_of_clip_are_those_of_the_whole_model(clip: Any, label_map: Path) -> None:
    own = options("zero_shot", "clip", label_map, batch_size=2)
    found = scores(ZeroShotLabeler(clip, preprocessor(), own).detect(IMAGES))
    raw = np.exp(logits(clip, [f"a photo of {word}" for word in WORDS]))
    np.testing.assert_allclose(found, raw / raw.sum(1, keepdims=True), rtol=1e-5)
    assert np.ptp(found, axis=1).min() > 0.01


def test_scores_of_siglip_are_independent(label_map: Path) -> None:
    keras.utils.set_random_seed(2)
    backbone = keras_hub.models.SigLIPBackbone(projection_dim=16, **encoders("SigLIP"))
    own = options("zero_shot", "siglip", label_map)
    found = scores(ZeroShotLabeler(backbone, preprocessor(), own).detect(IMAGES))
    raw = logits(backbone, [f"a photo of {word}" for word in WORDS])
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-raw)), rtol=1e-5)


def test_vectors_of_several_prompts_are_averaged(clip: Any, label_map: Path) -> None:
    prompts = ("a {}", "the {} in a pic")
    own = options("zero_shot", "clip", label_map, prompts=prompts)
    found = scores(ZeroShotLabeler(clip, preprocessor(), own).detect(IMAGES))
    scale = np.exp(float(clip.clip_head.logit_scale))
    cosines = [logits(clip, [p.replace("{}", word) for word in WORDS]) / scale for p in prompts]
    vectors = []
    for prompt in prompts:
        texts = tf.constant([prompt.replace("{}", word) for word in WORDS])
        tokens = preprocessor()({"images": None, "prompts": texts})["token_ids"]
        vector = clip.get_text_embeddings(tokens).numpy()
        vectors.append(vector / np.linalg.norm(vector, axis=1, keepdims=True))
    length = np.linalg.norm(np.mean(vectors, axis=0), axis=1)
    raw = np.exp(scale * np.mean(cosines, axis=0) / length)
    np.testing.assert_allclose(found, raw / raw.sum(1, keepdims=True), rtol=1e-4)


def test_a_preset_folder_is_opened(clip: Any, label_map: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    clip.save_to_preset(str(folder))
    preprocessor().save_to_preset(str(folder))
    own = options("zero_shot", folder, label_map, crops=5, max_detections=2)
    found = open_detector(own).detect(IMAGES[:1])[0]
    assert isinstance(found, Detections) and len(found.scores) == 2
    assert found.boxes.tolist() == [[0, 0, 1, 1]] * 2


def test_the_best_of_five_crops_counts(clip: Any, label_map: Path) -> None:
    ready = preprocessor()
    one, five = (
        ZeroShotLabeler(clip, ready, options("zero_shot", "clip", label_map, crops=crops))
        for crops in (1, 5)
    )
    image = IMAGES[0]  # 48 x 30: corners of 32 x 20
    crops = [image, image[:32, :20], image[:32, 10:], image[16:, :20], image[16:, 10:]]
    expected = scores(one.detect(crops)).max(0)
    np.testing.assert_allclose(scores(five.detect([image]))[0], expected, rtol=1e-5)


def test_what_cannot_be_opened_is_named(
    label_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"KerasHub cannot open the model .*nowhere"):
        open_detector(options("zero_shot", tmp_path / "nowhere", label_map))
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match=r"pip install 'r2m\[keras_hub\]'"):
        open_detector(options("zero_shot", "clip", label_map))
