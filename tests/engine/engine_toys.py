"""Small stages for tests of the engine.

Run as a script, this module trains a stage and optionally kills itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf

from r2m.engine.distribution.gather import all_gather
from r2m.engine.distribution.sharing import share
from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.distribution.workers import Worker, this_worker
from r2m.engine.options import TrainingOptions
from r2m.engine.persistence import checkpoints, durable_files
from r2m.engine.stage import Evaluation, LossTerm
from r2m.engine.train import train

VOCABULARY = 11
ALONE = Worker()


def two_devices() -> None:
    # RuntimeError: TensorFlow has started already. The fixture that needs two devices checks.
    with contextlib.suppress(RuntimeError):
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )


class LanguageModel(keras.Model):
    def __init__(self, dropout: float, unused: bool, name: str = "language_model") -> None:
        super().__init__(name=name)
        self.embedding = keras.layers.Embedding(VOCABULARY, 8)
        self.word_dropout = keras.layers.Dropout(dropout)
        self.hidden_layer = keras.layers.Dense(8, activation="tanh")
        self.dropout = keras.layers.Dropout(dropout)
        self.output_layer = keras.layers.Dense(VOCABULARY)
        self.sampler = keras.random.SeedGenerator(7) if dropout else None
        self.extra = keras.layers.Dense(3) if unused else None
        if self.extra is not None:
            self.extra.build((None, 8))

    def call(self, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:
        words = self.word_dropout(self.embedding(tokens), training=training)
        hidden = self.hidden_layer(tf.cumsum(words, axis=1))
        return self.output_layer(self.dropout(hidden, training=training))


class LanguageStage:
    """Language model of random tokens. Lengths, row counts and padding differ by batch.

    The batches are shuffled, and some of their tokens are changed. With `dropout`, the loss also
    draws random numbers: dropout masks, and tokens that are rewarded.
    """

    compares_rows = False
    steps_per_epoch = None

    def __init__(
        self,
        *,
        dropout: float = 0.3,
        unused: bool = False,
        rows: tuple[int, ...] = (4, 3, 1, 5),
        score: Callable[[int], float] = lambda step: float(step),
        fingerprint: Mapping[str, str] | None = None,
        worker: Worker = ALONE,
    ) -> None:
        keras.utils.set_random_seed(1)
        self.name = "toy"
        self.worker = worker
        self.fingerprint = fingerprint or {"vocabulary": "abc"}
        self.model = LanguageModel(dropout, unused)
        self.model(tf.zeros((1, 3), tf.int32))
        self.trainable_variables = self.model.trainable_variables
        self.rows = rows
        self.score = score
        self.evaluated: list[int] = []

    def batch(self, index: tf.Tensor) -> tf.Tensor:
        shape = (tf.constant(self.rows)[index % len(self.rows)], 3 + tf.cast(index % 4, tf.int32))
        tokens = tf.random.stateless_uniform(shape, [1, index], 1, VOCABULARY, tf.int32)
        other = tf.random.stateless_uniform(shape, [4, index]) < 0.1
        tokens = tf.where(other, 1, tokens)
        lengths = tf.random.stateless_uniform([shape[0]], [2, index], 2, shape[1] + 1, tf.int32)
        return tokens * tf.sequence_mask(lengths, shape[1], tf.int32)  # 0 is padding

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        def own_rows(index: tf.Tensor) -> tf.Tensor:
            turn = index // 8
            order = tf.random.experimental.stateless_shuffle(tf.range(8, dtype=tf.int64), [3, turn])
            index = order[index % 8] + 8 * turn
            return share(self.batch(index), self.worker.index, self.worker.count)

        return tf.data.Dataset.counter(tf.constant(first_step, tf.int64)).map(own_rows)

    def loss(self, batch: tf.Tensor, training: bool) -> dict[str, LossTerm]:
        logits = self.model(batch[:, :-1], training=training)
        target = batch[:, 1:]
        real = tf.cast(target > 0, tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
        size = tf.reduce_sum(tf.square(logits))
        terms = {}
        if self.model.sampler is not None:
            flat = tf.reshape(logits, [-1, VOCABULARY])
            drawn = tf.argmax(flat, 1, tf.int32)
            if training:
                drawn = keras.random.categorical(flat, 1, "int32", seed=self.model.sampler)[:, 0]
                drawn = tf.minimum(drawn, VOCABULARY - 1)  # draws from nan logits are V
            surprise = tf.nn.sparse_softmax_cross_entropy_with_logits(drawn, flat)
            rewards = tf.cast(drawn % 3, tf.float32) - 1.0
            terms["sampled"] = LossTerm(tf.reduce_sum(rewards * surprise), tf.shape(batch)[0], 0.1)
        return {
            **terms,
            "xe": LossTerm(tf.reduce_sum(losses * real), tf.reduce_sum(real)),
            "size": LossTerm(size, tf.shape(batch)[0], 0.01),
            "words": LossTerm(tf.reduce_sum(real), tf.shape(batch)[0], 0.0),
        }

    def evaluate(self, step: int) -> Evaluation:
        self.evaluated.append(step)
        # Draws random numbers, which must not affect training.
        self.model(tf.ones((2, 3), tf.int32), training=True)
        return Evaluation(
            metrics={"cider": self.score(step)},
            texts={"sample": f"step {step}"},
            images={"picture": np.zeros((2, 4, 4, 3), np.uint8)},
            histograms={"gate": np.linspace(0, 1, 9)},
        )


class PairModel(keras.Model):
    def __init__(self) -> None:
        super().__init__(name="pairs")
        # No bias: its gradient would be 0 except for rounding, which Adam amplifies to full steps.
        self.left = keras.layers.Dense(4, use_bias=False)
        self.right = keras.layers.Dense(4, use_bias=False)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return self.left(inputs[0]), self.right(inputs[1])


class PairStage:
    """Contrastive stage: each row is compared with the global batch, which requires an all_gather.

    If `whole`, every replica computes the loss of all rows instead of that of its own rows.
    """

    name = "pairs"
    compares_rows = True
    steps_per_epoch = None
    fingerprint: Mapping[str, str] = {}

    def __init__(self, *, whole: bool, worker: Worker = ALONE) -> None:
        keras.utils.set_random_seed(2)
        self.worker = worker
        self.model = PairModel()
        self.model((tf.zeros((1, 5)), tf.zeros((1, 6))))
        self.trainable_variables = self.model.trainable_variables
        self.whole = whole

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        def batch(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = tf.cast(1 + index % 5, tf.int32)
            normal = tf.random.stateless_normal
            pairs = normal((rows, 5), [1, index]), normal((rows, 6), [2, index])
            return share(pairs, self.worker.index, self.worker.count)

        return tf.data.Dataset.counter(tf.constant(first_step, tf.int64)).map(batch)

    def loss(self, batch: Any, training: bool) -> dict[str, LossTerm]:
        left, right = self.model(batch)
        gathered, first = all_gather(right, most_rows=5)
        if self.whole:
            left, first = all_gather(left, most_rows=5)[0], tf.constant(0)
        rows = tf.shape(left)[0]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            first + tf.range(rows), tf.matmul(left, gathered, transpose_b=True)
        )
        return {"contrast": LossTerm(tf.reduce_sum(losses), rows)}

    def evaluate(self, step: int) -> Evaluation:
        return Evaluation(metrics={"cider": 0.0})


def options(**changes: Any) -> TrainingOptions:
    values: dict[str, Any] = {
        "steps": 24,
        "learning_rate": 0.01,
        "clip_global_norm": 0.5,
        "steps_per_loop": 4,
        "log_every": 5,
        "evaluate_every": 8,
        "checkpoint_every": 6,
        "show_progress": False,
    }
    return TrainingOptions(**{**values, **changes})


def run(strategy: tf.distribute.Strategy, workdir: Path, **stage: Any) -> LanguageStage:
    with strategy.scope():
        toy = LanguageStage(**stage)
    train(toy, options(), workdir, strategy=strategy)
    return toy


def kill_at(moment: str, stage: LanguageStage) -> None:
    """Kills this process at a given moment, counted from the start of the process.

    Args:
        moment: 'save:9', the 9th disk access while something is saved; 'step:9', within the 9th
            step; 'evaluation:2', within the 2nd evaluation; or '' for never.
        stage: the trained stage; on one device for 'step'.
    """
    kind, _, number = moment.partition(":")
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    def killing(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            count()
            return function(*args, **kwargs)

        return wrapped

    if kind == "evaluation":
        stage.evaluate = killing(stage.evaluate)  # type: ignore[method-assign]
    if kind == "step":
        loss = stage.loss

        def killing_loss(batch: tf.Tensor, training: bool) -> dict[str, LossTerm]:
            with tf.control_dependencies([tf.py_function(count, [], [])]):
                batch = tf.identity(batch)
            return loss(batch, training)

        stage.loss = killing_loss  # type: ignore[method-assign]
    if kind != "save":
        return
    durable_files.sync = checkpoints.sync = killing(durable_files.sync)
    checkpoints.digest = killing(checkpoints.digest)
    checkpoints.shutil.rmtree = killing(checkpoints.shutil.rmtree)
    Path.rename = killing(Path.rename)  # type: ignore[method-assign]


STAGES: dict[str, Callable[..., Any]] = {
    "language": LanguageStage,
    "slowly-evaluated": partial(LanguageStage, score=lambda step: time.sleep(2) or float(step)),
    "language-without-dropout": partial(LanguageStage, dropout=0.0),
    "pairs": partial(PairStage, whole=False),
}


def run_named(
    name: str, strategy: tf.distribute.Strategy, workdir: Path, dies_at: str = ""
) -> None:
    with strategy.scope():
        stage = STAGES[name](worker=this_worker(strategy))
    kill_at(dies_at, stage)
    train(stage, options(), workdir, strategy=strategy)


if __name__ == "__main__":
    # strategy, working folder, stage, moment to die at
    if sys.argv[1] == "mirrored":
        two_devices()
    run_named(sys.argv[3], make_strategy(sys.argv[1]), Path(sys.argv[2]), sys.argv[4])
