"""Published settings of visual-semantic embeddings."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from r2m.configuration.settings import training_options
from r2m.engine.optimization.schedules import LearningRate

NAMES = {
    "uvs": "uvs", "vse0": "vse0", "vse++": "vse_plus_plus", "order0": "order0",
    "order++": "order_plus_plus", "vse_infinity": "vse_infinity", "contrastive": "contrastive",
}  # fmt: skip


def published(name: str, arg: str | None = None) -> ConfigDict:
    config: ConfigDict = importlib.import_module(f"configs.retrieval.{NAMES[name]}").get_config(arg)
    return config


# margin, hinges, similarity, absolute, normalized images, learning rate, epochs
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uvs", (0.2, "sum", "cosine", False, "in_use", 2e-4, 15)),
        ("vse0", (0.2, "sum", "cosine", False, "never", 2e-4, 30)),
        ("vse++", (0.2, "max", "cosine", False, "always", 2e-4, 30)),
        ("order0", (0.05, "sum", "order", True, "always", 1e-3, 30)),
        ("order++", (0.2, "max", "order", False, "always", 2e-4, 30)),
        ("vse_infinity", (0.2, "max", "cosine", False, "always", 5e-4, 25)),
    ],
)
def test_published_settings(name: str, expected: tuple[object, ...]) -> None:
    config = published(name)
    loss, model, stage = config.loss, config.model, config.stages.ranking
    found = (loss.margin, loss.hinges, model.similarity, model.absolute, model.normalize_images)
    assert (*found, stage.learning_rate) == expected[:-1]
    assert stage.steps == f"{expected[-1]} epochs" and stage.batch_size == 128
    assert (config.name, config.training.clip_global_norm) == (name, 2.0)
    assert (model.size, model.word_size, loss.mask_same_image) == (1024, 300, False)
    kiros = name == "uvs"
    assert config.training.optimizer == {"uvs": "kiros_adam", "vse_infinity": "adamw"}.get(
        name, "adam"
    )
    assert config.data.batching == ("same_length" if kiros else "shuffled")
    assert config.data.start_marker != kiros and (model.gru_weights == "kiros") == kiros


def test_vse_infinity_pools_both_sides_and_varies_their_sizes() -> None:
    config = published("vse_infinity")
    model = config.model
    assert (model.sentence_pooling, model.image_pooling, model.image_encoder) == (
        "gpo", "gpo", "mlp"
    )  # fmt: skip
    assert model.bidirectional and (model.row_dropout, config.data.word_noise) == (0.2, 0.2)
    assert config.loss.sum_epochs == 1 and config.training.weight_decay == 1e-4


def test_contrastive_learns_from_all_negatives_of_a_batch() -> None:
    config = published("contrastive")
    assert (config.loss.name, config.loss.temperature, config.loss.sum_epochs) == (
        "softmax", 0.05, 0
    )  # fmt: skip
    assert (config.model.bidirectional, config.model.sentence_pooling) == (True, "gpo")
    assert published("contrastive", "flickr8k").stages.ranking.learning_rate == 2e-3


@pytest.mark.parametrize(("name", "epoch"), [("vse++", 15), ("vse_infinity", 15), ("uvs", None)])
def test_the_learning_rate_falls_once_to_a_tenth(name: str, epoch: int | None) -> None:
    config = published(name)
    stage = SimpleNamespace(
        name="ranking", compiles=False, compares_rows=True, steps_per_epoch=100,
        best_metric=("recall_sum", "max"),
    )  # fmt: skip
    options = training_options(config, stage)
    rate = LearningRate(options)
    first, last = float(rate(0)), float(rate(options.steps - 1))
    if epoch is None:
        assert last == first
        return
    assert float(rate(100 * epoch - 1)) == first
    assert float(rate(100 * epoch)) == last == pytest.approx(first / 10)
