"""Visual-semantic embeddings from their configuration to vectors of images and sentences."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from captioner_runs import BACKBONE
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

import r2m
from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.engine.persistence import checkpoints
from r2m.evaluation.retrieval import retrieval_metrics
from r2m.inference import retrieval_run as retrieval_run_module
from r2m.inference.backbone_export import export_backbone
from r2m.inference.retrieval_run import RetrievalRun
from r2m.inference.run import Run
from r2m.tasks.retrieval import experiment
from r2m.tasks.retrieval.experiment import run_retrieval
from r2m.tasks.retrieval.objective import RankingObjective, RankingOptions
from tfrecords.core.errors import InputError
from tfrecords.pictures.backbones import Network

PRESETS = (
    "uvs", "vse0", "vse_plus_plus", "order0", "order_plus_plus", "vse_infinity", "contrastive"
)  # fmt: skip
RECALLS = {f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)}


def small(records: Path, preset: str = "vse_plus_plus") -> Any:
    config = importlib.import_module(f"configs.retrieval.{preset}").get_config("test")
    config.data.captions = str(records)
    return config


def test_a_run_opens_and_encodes_records_images_and_sentences(
    embedding_run, caption_records, pictures
) -> None:
    run = r2m.load(embedding_run.parent)
    assert isinstance(run, RetrievalRun)
    assert (run.path, run.similarity, run.size) == (embedding_run, "cosine", 8)
    names, images, texts = run.encode_records(caption_records, "val")
    assert images.shape == (4, 8) and images.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-5)
    files = [pictures / "images" / name for name in names]
    # Records store float16.
    np.testing.assert_allclose(run.encode_images(files, batch_size=3), images, atol=2e-3)
    flat = [text for own in texts for text in own]
    sentences = run.encode_sentences(flat)
    assert sentences.dtype == np.float32 and len(sentences) == len(flat)
    for text, vector in zip(flat[:3], sentences, strict=False):
        np.testing.assert_allclose(run.encode_sentences([text])[0], vector, atol=1e-6)
    # Evaluation reproduces the validation scores of the best weights.
    owners = np.repeat(np.arange(4), [len(own) for own in texts])
    found = retrieval_metrics(images, sentences, owners)
    best = max(
        (line for line in read_metrics(embedding_run) if line["kind"] == "evaluation"),
        key=lambda line: line["recall_sum"],
    )
    assert all(found[name] == pytest.approx(best[name]) for name in RECALLS)
    assert len(found.keys() & RECALLS) == 6
    assert r2m.evalrank(run, caption_records) == found
    assert r2m.evalrank([run, run], caption_records, "val") == found


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_trains_and_opens(preset, caption_records, tmp_path) -> None:
    config = small(caption_records, preset)
    config.stages.ranking.steps = 2
    summary = run_retrieval(config, tmp_path)
    assert summary.best_metrics["recall_sum"] >= 0
    run = r2m.load(tmp_path)
    assert run.similarity == ("order" if "order" in preset else "cosine")
    _, images, texts = run.encode_records(caption_records, "val")
    assert np.isfinite(images).all() and np.isfinite(run.encode_sentences(texts[0])).all()
    # At inference, only the preset without normalization has image vectors of norm other than 1.
    assert np.allclose(np.linalg.norm(images, axis=1), 1, atol=1e-4) == (preset != "vse0")


def test_a_bag_of_words_and_a_grid_train_in_half_precision(caption_records, tmp_path) -> None:
    config = small(caption_records)
    config.training.precision = "mixed_bfloat16"
    config.model.update(sentence_encoder="bow", sentence_pooling="max", image_input="regions")
    config.stages.ranking.steps = 2
    run_retrieval(config, tmp_path)
    assert r2m.load(tmp_path).encode_sentences(["a red dog"]).shape == (1, 8)


def test_several_captions_of_an_image_train_as_that_many_pairs(caption_records, tmp_path) -> None:
    config = small(caption_records, "contrastive")
    config.data.captions_per_image = 5
    config.stages.ranking.update(batch_size=20, steps=2)
    run_retrieval(config, tmp_path)
    model = r2m.load(tmp_path).model
    rng = np.random.default_rng(0)
    batch = {
        "global": tf.constant(rng.normal(size=(4, model.get_config()["feature_size"])), tf.float32),
        "owners": tf.range(4),
        "tokens": tf.constant(rng.integers(3, 9, (4, 5, 6)), tf.int32),
        "lengths": tf.constant(rng.integers(1, 7, (4, 5)), tf.int32),
    }
    flat = {
        "global": tf.repeat(batch["global"], 5, axis=0),
        "owners": tf.repeat(batch["owners"], 5),
        "tokens": tf.reshape(batch["tokens"], [20, 6]),
        "lengths": tf.reshape(batch["lengths"], [20]),
    }
    options = RankingOptions(name="softmax", mask_same_image=True, batch_size=20)
    one, other = (RankingObjective(options).loss(model, each, False) for each in (batch, flat))
    for name, term in one.items():
        np.testing.assert_allclose(term.total, other[name].total, rtol=1e-5)
        np.testing.assert_allclose(term.normalizer, other[name].normalizer)


def weights(run: Path, folder: str = "checkpoints") -> dict[str, np.ndarray]:
    newest = checkpoints.newest(run / folder)
    reader = tf.train.load_checkpoint(str(newest.folder / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_a_resumed_run_is_the_run_that_was_never_stopped(caption_records, tmp_path) -> None:
    config = small(caption_records)
    # All sources of randomness in training.
    config.data.update(batching="same_length", word_noise=0.2)
    config.model.update(image_input="regions", row_dropout=0.3, word_dropout=0.2)
    config.training.log_every = 1
    run_retrieval(config, tmp_path / "whole")
    config.stages.ranking.steps = 2
    run_retrieval(config, tmp_path / "parts")
    config.stages.ranking.steps = 4
    run_retrieval(config, tmp_path / "parts")
    whole, parts = (tmp_path / name / "ranking" for name in ("whole", "parts"))
    assert read_metrics(whole) == read_metrics(parts)
    for folder in ("checkpoints", "best"):
        one, other = weights(whole, folder), weights(parts, folder)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.skipif(
    len(tf.config.list_logical_devices("CPU")) < 2, reason="TensorFlow started with one CPU device"
)
@pytest.mark.parametrize("preset", ["vse_plus_plus", "order0"])
def test_two_replicas_equal_one(preset, caption_records, tmp_path) -> None:
    config = small(caption_records, preset)
    # Adam amplifies gradients that consist of rounding errors to steps of this size.
    config.stages.ranking.update(batch_size=7, learning_rate=1e-4)
    config.training.log_every = 1
    config.loss.mask_same_image = True
    for strategy in ("one_device", "mirrored"):
        config.training.strategy = strategy
        run_retrieval(config, tmp_path / strategy)
    one, two = (tmp_path / name / "ranking" for name in ("one_device", "mirrored"))
    for a, b in zip(read_metrics(one), read_metrics(two), strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"kind"}:
            np.testing.assert_allclose(b[name], a[name], rtol=1e-4, atol=1e-5, err_msg=name)
    expected, found = weights(one), weights(two)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)


def test_the_log_names_the_loss_and_the_projector_shows_the_vectors(embedding_run) -> None:
    lines = read_metrics(embedding_run)
    train = next(line for line in lines if line["kind"] == "train")
    names = {"loss/ranking", "loss/hinge", "loss/positive", "loss/negative"}
    assert names <= train.keys() and train["loss"] == pytest.approx(train["loss/ranking"])
    evaluated = next(line for line in lines if line["kind"] == "evaluation")
    assert RECALLS | {"recall_sum", "i2t_median_rank", "image_spread"} <= evaluated.keys()
    config = ProjectorConfig()
    text_format.Parse((embedding_run / "projector_config.pbtxt").read_text(), config)
    vectors = np.loadtxt(embedding_run / config.embeddings[0].tensor_path)
    head, *labels = (embedding_run / config.embeddings[0].metadata_path).read_text().splitlines()
    assert head.split("\t") == ["kind", "image", "text"]
    assert vectors.shape == (len(labels), 8) and len(labels) > 4
    kinds = [line.split("\t")[0] for line in labels]
    assert kinds[:4] == ["image"] * 4 and set(kinds[4:]) == {"caption"}


def of_shape(tensors: dict[str, np.ndarray], *shape: int) -> np.ndarray:
    """Returns the only weights of a model with a given shape."""
    (found,) = (v for k, v in tensors.items() if k.startswith("model") and v.shape == shape)
    return found


def network(config: Any, dtype: str = "float32", *, load: bool = True) -> Network:
    """Returns a small network; the maps of a full one with random weights would be all zero."""
    keras.utils.set_random_seed(3)
    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(6, 16, 16, name="last")]
    return Network(
        keras.Sequential(layers), keras.applications.mobilenet.preprocess_input, (2, 2, 6)
    )


def best_kernel(run: Path) -> np.ndarray:
    return of_shape(weights(run, "best"), 16, 16, 3, 6)


def test_a_network_is_trained_after_its_frozen_epoch(
    embedding_run, caption_records, pictures, tmp_path, monkeypatch
) -> None:
    for module in (experiment, retrieval_run_module):
        monkeypatch.setattr(module, "open_network", network)
    config = small(caption_records)
    config.image.update(source="pixels", trained_from="last", **BACKBONE)
    config.stages.ranking.update(steps=1, batch_size=50, evaluate_every=1)
    kernels = []
    for steps in (1, 2):  # of an epoch each
        config.stages.ranking.steps = steps
        run_retrieval(config, tmp_path)
        found = weights(tmp_path / "ranking")
        kernels.append(of_shape(found, 16, 16, 3, 6))
    start = network(config).model.get_weights()[0]
    np.testing.assert_array_equal(kernels[0], start)
    change = np.abs(kernels[1] - start).max()
    # Adam's second step after a gradient of 0, at a tenth of the rate of the other weights.
    step = 0.1 / (1 - 0.9**2) / np.sqrt(0.001 / (1 - 0.999**2))
    assert change == pytest.approx(step * 0.1 * config.stages.ranking.learning_rate, rel=0.01)
    images = r2m.load(tmp_path).encode_images(sorted((pictures / "images").glob("val*")))
    assert images.shape == (4, 8) and np.isfinite(images).all()
    exported = export_backbone(tmp_path, tmp_path / "own.weights.h5")
    assert exported.flags[0] == f"--backbone={config.image.backbone}"
    fresh = network(config).model
    fresh.load_weights(exported.file)
    np.testing.assert_array_equal(fresh.get_weights()[0], best_kernel(tmp_path / "ranking"))
    with pytest.raises(TrainingError, match="linear"):  # VGG16 has other features
        run_retrieval(config, tmp_path / "other", init_from=embedding_run)


def test_a_model_of_pixels_starts_from_one_of_stored_features(
    caption_records, tmp_path, monkeypatch
) -> None:
    def as_stored(config: Any, dtype: str = "float32", *, load: bool = True) -> Network:
        """Returns a network with the feature size of the records."""
        keras.utils.set_random_seed(3)
        layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(512, 32, 32)]
        return Network(keras.Sequential(layers), lambda x: x / 255.0, (1, 1, 512))

    config = small(caption_records)
    config.stages.ranking.update(steps=1, evaluate_every=1)
    run_retrieval(config, tmp_path / "stored")
    stored = weights(tmp_path / "stored" / "ranking")
    monkeypatch.setattr(experiment, "open_network", as_stored)
    config.image.update(source="pixels", **BACKBONE)
    config.stages.ranking.learning_rate = 1e-6
    run_retrieval(config, tmp_path / "pixels", init_from=tmp_path / "stored" / "ranking")
    found = weights(tmp_path / "pixels" / "ranking")
    linear = [of_shape(tensors, 512, 8) for tensors in (stored, found)]
    np.testing.assert_allclose(*linear, atol=1e-5)


@pytest.mark.parametrize(("hinges", "level"), [("max", "= 0.4"), ("sum", "0.4 for the sum")])
def test_a_collapse_is_named_with_what_to_do(hinges, level) -> None:
    options = RankingOptions(margin=0.1, hinges=hinges, batch_size=2)
    near = {"loss/hinge": 0.1005, "loss/positive": 1.0, "loss/negative": 1.0}
    # The mean hinge may exceed the margin although similarities differ.
    for away in ({**near, "loss/hinge": 0.05}, {**near, "loss/negative": 0.9}):
        objective = RankingObjective(options)
        assert [objective.remark(x) for x in (near, near, away, near, near)] == [None] * 5
    remark = objective.remark(near)
    assert remark is not None and level in remark and "--config.loss.sum_epochs=1" in remark
    assert objective.remark(near) is None


def test_a_collapse_under_the_softmax_is_named() -> None:
    objective = RankingObjective(RankingOptions(name="softmax", batch_size=2))
    near = {"loss/softmax": 0.695, "loss/positive": 1.0, "loss/negative": 1.0}
    assert [objective.remark(near) for _ in range(2)] == [None] * 2
    remark = objective.remark(near)
    assert remark is not None and "2 * batch_size * log(batch_size) = 2.77" in remark


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss.margin": 0.0}, "loss.margin=0.0: must be above 0"),
        ({"loss.margin": 2.0}, "loss.margin=2.0: must be above 0 and below 2"),
        ({"stages.ranking.batch_size": 1}, "batch_size=1: must be at least 2"),
        ({"loss.hinges": "sum", "loss.sum_epochs": 1}, "sum_epochs=1: must be 0"),
        ({"loss.name": "softmax", "loss.sum_epochs": 1}, "which has no hinges"),
        ({"loss.temperature": 0.0}, "loss.temperature=0.0: must be above 0"),
        (
            {"model.sentence_encoder": "bow", "model.word_size": 9},
            "word_size=9: must be model.size=8.*\n.*sentence_pooling=last: must be mean",
        ),
        ({"data.captions": ""}, "pass --captions=FOLDER"),
        (
            {"data.captions_per_image": 3, "loss.mask_same_image": False},
            "captions_per_image=3: must divide stages.ranking.batch_size=5.*\n.*mask_same_image",
        ),
        (
            {"data.captions_per_image": 5, "data.batching": "same_length"},
            "into two images at least\n.*captions_per_image=5: must be 1 with data.batching=same",
        ),
    ],
)
def test_impossible_settings_are_refused(changes, message, caption_records, tmp_path) -> None:
    config = small(caption_records)
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=message):
        run_retrieval(config, tmp_path)


def test_options_of_the_loss_are_checked_without_a_configuration() -> None:
    for options, message in (
        ({"margin": 2.5, "hinges": "max", "batch_size": 4}, "between 0 and 2"),
        ({"margin": 0.2, "hinges": "all", "batch_size": 4}, "known: sum, max"),
        ({"margin": 0.2, "hinges": "max", "batch_size": 1}, "at least 2"),
        ({"name": "sigmoid", "batch_size": 4}, "known: hinges, softmax"),
        ({"name": "softmax", "temperature": 0.0, "batch_size": 4}, "temperature must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            RankingOptions(**options)


def test_sentences_without_known_words_are_refused(embedding_run) -> None:
    run = r2m.load(embedding_run)
    assert run.encode_sentences([]).shape == (0, 8)
    assert run.encode_images([]).shape == (0, 8)
    for texts, message in (
        (["a dog", ""], "sentence 1, '': it contains no word"),
        (["?!"], "sentence 0, '\\?!': it contains no word"),
        (["zyzzyva"], "none of its words is in the vocabulary"),
        ("a dog", "expected a list of sentences"),
    ):
        with pytest.raises(InputError, match=message):
            run.encode_sentences(texts)
    with pytest.raises(InputError, match="batch_size=0"):
        run.encode_sentences(["a dog"], batch_size=0)


def test_what_a_run_cannot_encode_is_refused(
    embedding_run, caption_records, att2in2_run, pictures, tmp_path
) -> None:
    run = r2m.load(embedding_run)
    (tmp_path / "no.png").write_bytes(b"no picture")
    files = [next((pictures / "images").glob("val*")), tmp_path / "no.png"]
    with pytest.raises(InputError, match=r"no\.png"):
        run.encode_images(files)
    with pytest.raises(InputError, match="no split 'test'"):
        run.encode_records(caption_records, "test")
    with pytest.raises(InputError, match="leave out beam_size"):
        r2m.load(embedding_run, beam_size=3)
    with pytest.raises(InputError, match="does not caption"):
        Run.load(embedding_run)
    with pytest.raises(InputError, match="does not caption"):
        r2m.load([embedding_run, att2in2_run])


def test_a_damaged_run_is_refused(embedding_run, tmp_path) -> None:
    broken = tmp_path / "ranking"
    shutil.copytree(embedding_run, broken)
    for content, message in (("{}", "missing or damaged"), ('{"vocabulary_rule": "x"}', "known:")):
        (broken / "sentences.json").write_text(content)
        with pytest.raises(InputError, match=message):
            r2m.load(broken)
