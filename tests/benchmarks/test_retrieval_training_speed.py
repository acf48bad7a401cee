"""Training of VSE++ at its published size, through the engine and in plain PyTorch.

    R2M_TORCH_PYTHON=PYTHON pytest tests/benchmarks/test_retrieval_training_speed.py -s

PYTHON is an interpreter with PyTorch; without it, only our implementations are measured. Each
implementation runs in its own process, and the processes take turns. Sentence encoding is compared
with its matrix products alone: one product for the inputs of all words, and one per step with the
state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import retrieval_data
import tensorflow as tf
from retrieval_data import MARGIN, PAIRS, STEPS, UNITS, VOCABULARY, WORD_SIZE
from turns import TORCH_PYTHON, Way, apart, by_script, compare

from models.vse import VisualSemanticEmbedding
from r2m.engine.distribution.cores import configure_threads
from r2m.engine.optimization.optimizers import make_optimizer
from r2m.engine.options import TrainingOptions
from r2m.engine.stage import LossTerm
from r2m.engine.step import make_train_loop
from r2m.tasks.retrieval.objective import RankingObjective, RankingOptions

pytestmark = pytest.mark.timeout(3600)
# Captions that are encoded at once.
ENCODED = 512


class Stage:
    """The part of a stage that the engine needs."""

    name, compares_rows, compiles = "speed", True, False

    def __init__(self) -> None:
        self.model = build()
        self.trainable_variables = self.model.trainable_variables
        self.objective = RankingObjective(
            RankingOptions(margin=MARGIN, hinges="max", batch_size=PAIRS)
        )

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> dict[str, LossTerm]:
        return self.objective.loss(self.model, {**batch, "hardest": tf.constant(True)}, training)


def build() -> VisualSemanticEmbedding:
    return VisualSemanticEmbedding(
        vocabulary_size=VOCABULARY, feature_size=2_048, size=UNITS, word_size=WORD_SIZE
    )


def ours() -> Way:
    configure_threads(1)
    stage = Stage()
    options = TrainingOptions(steps=1, learning_rate=2e-4, clip_global_norm=2.0)
    optimizer = make_optimizer(options, stage.trainable_variables)
    loop = make_train_loop(stage, optimizer, options, tf.distribute.get_strategy())

    def endless() -> tf.data.Dataset:
        for seed in range(6):
            regions, tokens, lengths = retrieval_data.batch(seed)
            yield {
                "regions": regions,
                "tokens": tokens.astype(np.int32),
                "lengths": lengths.astype(np.int32),
            }

    signature = {
        "regions": tf.TensorSpec([PAIRS, 36, 2_048]),
        "tokens": tf.TensorSpec([PAIRS, None], tf.int32),
        "lengths": tf.TensorSpec([PAIRS], tf.int32),
    }
    dataset = tf.data.Dataset.from_generator(endless, output_signature=signature).cache().repeat()
    batches = iter(dataset.prefetch(2))

    def run(turn: int) -> int:
        del turn
        assert np.isfinite(loop(batches, STEPS).objective).all()
        return STEPS * PAIRS

    return run


def encoding() -> Way:
    model = build()
    tokens, lengths = sentences()
    encode = tf.function(model.encode_sentences, autograph=False)

    def run(turn: int) -> int:
        del turn
        for _ in range(STEPS):
            assert encode(tokens, lengths).shape == (ENCODED, UNITS)
        return STEPS * ENCODED

    return run


def products() -> Way:
    """Returns a way that computes only the matrix products of `encoding`, on real words."""
    _, lengths = sentences()
    counts = [int((lengths.numpy() > step).sum()) for step in range(int(lengths.numpy().max()))]
    words = tf.random.normal([sum(counts), WORD_SIZE])
    into, own = tf.random.normal([WORD_SIZE, 3 * UNITS]), tf.random.normal([UNITS, 3 * UNITS])
    state = tf.random.normal([ENCODED, UNITS])

    @tf.function(autograph=False)
    def multiply() -> list[tf.Tensor]:
        return [words @ into, *(state[:count] @ own for count in counts)]

    def run(turn: int) -> int:
        del turn
        for _ in range(STEPS):
            multiply()[-1].numpy()
        return STEPS * ENCODED

    return run


def sentences() -> tuple[tf.Tensor, tf.Tensor]:
    """Tokens and lengths of the captions to encode."""
    found = [retrieval_data.batch(seed)[1:] for seed in range(ENCODED // PAIRS)]
    steps = max(tokens.shape[1] for tokens, _ in found)
    padded = [np.pad(tokens, ((0, 0), (0, steps - tokens.shape[1]))) for tokens, _ in found]
    return (
        tf.constant(np.concatenate(padded), tf.int32),
        tf.constant(np.concatenate([lengths for _, lengths in found]), tf.int32),
    )


def test_training() -> None:
    ways: dict[str, Callable] = {"engine": partial(apart, ours)}
    if TORCH_PYTHON:
        torch = partial(by_script, "torch_retrieval.py")
        ways["plain PyTorch"] = partial(torch, "last")
        ways["PyTorch, averaging first"] = partial(torch, "first")
    compare("VSE++, training pairs", ways)


def test_sentence_encoding() -> None:
    compare(
        "VSE++, captions encoded",
        {"ours": partial(apart, encoding), "products": partial(apart, products)},
    )
