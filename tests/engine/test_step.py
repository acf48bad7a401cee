from __future__ import annotations

from typing import Any, ClassVar

import engine_toys
import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from engine_toys import LanguageStage, PairStage, options
from hypothesis import given, settings
from hypothesis import strategies as st

from r2m.engine.distribution.sharing import distribute
from r2m.engine.errors import TrainingError
from r2m.engine.optimization.optimizers import make_optimizer
from r2m.engine.stage import Evaluation, LossTerm
from r2m.engine.step import (
    StepResults,
    make_train_loop,
    seed_replicas,
    seed_states,
)

ONE = tf.distribute.get_strategy()


def run_steps(
    make_stage: Any, strategy: tf.distribute.Strategy, steps: int, **changes: Any
) -> tuple[StepResults, list[np.ndarray], Any]:
    with strategy.scope():
        stage = make_stage()
        optimizer = make_optimizer(options(**changes), stage.trainable_variables)
    seed_replicas(stage.model, 0, strategy)
    loop = make_train_loop(stage, optimizer, options(**changes), strategy)
    results = loop(iter(distribute(stage.train_dataset(0), strategy)), steps)
    return results, [variable.numpy() for variable in stage.trainable_variables], stage


@pytest.mark.parametrize(
    "make_stage",
    [
        pytest.param(lambda: LanguageStage(dropout=0.0), id="padding-and-odd-batches"),
        pytest.param(lambda: LanguageStage(dropout=0.0, rows=(1,)), id="one-row"),
        pytest.param(lambda: PairStage(whole=False), id="all_gather-own-rows"),
        pytest.param(lambda: PairStage(whole=True), id="all_gather-all-rows"),
    ],
)
def test_two_replicas_equal_one(make_stage: Any, mirrored: tf.distribute.Strategy) -> None:
    # Clipping is effective at some steps only: norms are above and below the bound.
    changes = {"clip_global_norm": 0.5, "weight_decay": 0.01}
    one, one_weights, _ = run_steps(make_stage, tf.distribute.get_strategy(), 20, **changes)
    two, two_weights, _ = run_steps(make_stage, mirrored, 20, **changes)
    assert one.gradient_norm.max() > 0.5
    np.testing.assert_allclose(one.objective, two.objective, atol=1e-5)
    np.testing.assert_allclose(one.gradient_norm, two.gradient_norm, atol=1e-5)
    for a, b in zip(one_weights, two_weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert one.objective.std() > 1e-3


@pytest.mark.parametrize(
    "changes", [{"micro_batches": 3}, {"micro_batches": 3, "at_once": 2}, {"jit": True}], ids=str
)
def test_other_ways_to_compute_the_same_step(
    changes: Any, strategy: tf.distribute.Strategy
) -> None:
    """Includes batches with fewer rows than parts, and two terms with different normalizers."""

    def make() -> LanguageStage:
        return LanguageStage(dropout=0.0, unused=True)

    # XLA compiles once per shape; there are four shapes.
    steps = 2 if "jit" in changes else 8
    plain, weights, _ = run_steps(make, strategy, steps, clip_global_norm=0.5)
    found, others, _ = run_steps(make, strategy, steps, clip_global_norm=0.5, **changes)
    np.testing.assert_allclose(plain.objective, found.objective, atol=1e-5)
    np.testing.assert_allclose(plain.gradient_norm, found.gradient_norm, atol=1e-5)
    for name, totals in plain.totals.items():
        np.testing.assert_allclose(totals, found.totals[name], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(plain.normalizers[name], found.normalizers[name])
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_random_numbers_are_drawn_in_parts_too(strategy: tf.distribute.Strategy) -> None:
    assert_random_numbers_are_drawn({"micro_batches": 2}, strategy)


def test_random_numbers_are_drawn_in_compiled_steps_too() -> None:
    assert_random_numbers_are_drawn({"jit": True}, ONE)


def assert_random_numbers_are_drawn(changes: Any, strategy: tf.distribute.Strategy) -> None:
    with_dropout, _, stage = run_steps(LanguageStage, strategy, 1, **changes)
    without, _, _ = run_steps(lambda: LanguageStage(dropout=0.0), strategy, 1, **changes)
    assert abs(with_dropout.objective - without.objective).min() > 1e-4
    parts = changes.get("micro_batches", 1)
    assert [int(state.numpy()[1]) for state in seed_states(stage.model)] == [parts] * 3


def test_rows_that_are_compared_stay_together(mirrored: tf.distribute.Strategy) -> None:
    for strategy, changes in ((ONE, {"micro_batches": 2}), (mirrored, {"jit": True})):
        with pytest.raises(TrainingError, match="compares the rows of a batch"):
            run_steps(lambda: PairStage(whole=False), strategy, 1, **changes)


def test_replicas_stay_equal_copies(mirrored: tf.distribute.Strategy) -> None:
    _, _, stage = run_steps(LanguageStage, mirrored, 10)
    for variable in stage.trainable_variables:
        a, b = mirrored.experimental_local_results(variable.value)
        np.testing.assert_array_equal(a.numpy(), b.numpy())


class OneLayerStage:
    """A stage of one layer and a loss function, with the same batch at every step."""

    name = "one"
    compares_rows = False
    steps_per_epoch = None
    fingerprint: ClassVar[dict[str, str]] = {}

    def __init__(self, layer: keras.layers.Layer, batch: Any, loss: Any) -> None:
        self.model = keras.Sequential([layer])
        self.model(tf.convert_to_tensor(batch))
        self.trainable_variables = self.model.trainable_variables
        self._batch, self._loss = batch, loss

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensors(self._batch).repeat()

    def loss(self, batch: Any, training: bool) -> dict[str, LossTerm]:
        return self._loss(self.model(batch, training=training))

    def evaluate(self, step: int) -> Evaluation:
        return Evaluation(metrics={})


def adam(weights: np.ndarray, gradients: list[np.ndarray], rate: float) -> np.ndarray:
    m, v = np.zeros_like(weights), np.zeros_like(weights)
    for step, gradient in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        scale = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weights = weights - scale * m / (np.sqrt(v) + 1e-8)
    return weights


def test_repeated_embedding_rows_match_hand_computed_adam(
    strategy: tf.distribute.Strategy,
) -> None:
    """Row 1 is looked up three times: its gradients must be summed before norm and moments."""
    ids = np.array([[1, 1], [1, 2]], np.int32)
    factors = np.array([[1.0], [2.0]], np.float32)

    def make() -> OneLayerStage:
        layer = keras.layers.Embedding(4, 2, embeddings_initializer="ones")
        return OneLayerStage(
            layer, ids, lambda x: {"x": LossTerm(tf.reduce_sum(x * factors.T[:, :, None]), 1)}
        )

    # The normalizer is counted once per replica.
    replicas = strategy.num_replicas_in_sync
    results, (weights,), _ = run_steps(make, strategy, 2, clip_global_norm=1.0)
    gradient = np.zeros((4, 2))
    for row in ids:
        for column, index in enumerate(row):
            gradient[index] += factors[column, 0] / replicas
    norm = np.sqrt((gradient**2).sum())
    np.testing.assert_allclose(results.gradient_norm, norm, rtol=1e-6)
    expected = adam(np.ones((4, 2)), [gradient / norm] * 2, 0.01)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)

    # TensorFlow's unsummed gradient has another norm, so the test detects the difference.
    table = tf.Variable(tf.ones((4, 2)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.gather(table, ids) * factors.T[:, :, None])
    sparse = tape.gradient(total, table)
    assert isinstance(sparse, tf.IndexedSlices)
    assert abs(float(tf.linalg.global_norm([sparse])) / replicas - norm) > 0.1


def test_weight_decay_is_added_after_clipping() -> None:
    def make() -> OneLayerStage:
        layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        batch = np.full((2, 3), 4.0, np.float32)
        return OneLayerStage(layer, batch, lambda y: {"y": LossTerm(tf.reduce_sum(y), 2)})

    strategy = tf.distribute.get_strategy()
    _, (weights,), _ = run_steps(make, strategy, 1, clip_global_norm=0.1, weight_decay=0.5)
    gradient = np.full((3, 1), 0.1 / np.sqrt(3)) + 0.5
    np.testing.assert_allclose(weights, adam(np.ones((3, 1)), [gradient], 0.01), rtol=1e-6)


def test_terms_have_their_own_normalizer_and_weight(strategy: tf.distribute.Strategy) -> None:
    def make() -> OneLayerStage:
        layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        batch = np.array([[1.0], [2.0], [6.0]], np.float32)

        def loss(y: tf.Tensor) -> dict[str, LossTerm]:
            rows = tf.shape(y)[0]
            return {
                "a": LossTerm(tf.reduce_sum(y), rows, 2.0),
                "b": LossTerm(tf.reduce_sum(y), 3 * rows, 1.0),
                "shown": LossTerm(tf.reduce_sum(y) * 1e6, rows, 0.0),
                "nothing": LossTerm(tf.reduce_sum(y) * 0.0, rows * 0, 1.0),
            }

        return OneLayerStage(layer, batch, loss)

    results, _, _ = run_steps(make, strategy, 1, clip_global_norm=None)
    np.testing.assert_allclose(results.objective, [2 * 9 / 3 + 9 / 9], rtol=1e-6)
    np.testing.assert_allclose(results.gradient_norm, [7.0], rtol=1e-6)
    assert results.totals["shown"][0] == pytest.approx(9e6)
    assert results.normalizers["b"][0] == 9
    assert results.normalizers["nothing"][0] == 0


@pytest.mark.parametrize("jit", [False, True])
def test_steps_that_compile_are_detected(jit: bool, strategy: tf.distribute.Strategy) -> None:
    """XLA compiles one program per shape; without XLA, one program serves all shapes."""

    def make() -> OneLayerStage:
        layer, batch = keras.layers.Dense(1), np.ones((1, 3), np.float32)
        return OneLayerStage(layer, batch, lambda y: {"y": LossTerm(tf.reduce_sum(y), 1)})

    with strategy.scope():
        stage = make()
        optimizer = make_optimizer(options(), stage.trainable_variables)
    rows = tf.data.Dataset.from_tensor_slices([2, 2, 3, 2, 3]).repeat()
    batches = rows.map(lambda rows: tf.ones([rows, 3]))
    loop = make_train_loop(stage, optimizer, options(jit=jit), strategy)
    iterator = iter(distribute(batches, strategy))
    found = [loop(iterator, steps).compiled for steps in (1, 1, 2, 1)]
    assert found == [True, False, jit, False]


def test_unreached_variables_are_left_alone_and_reported_once(
    strategy: tf.distribute.Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: warnings.append(text % args))
    _, weights, stage = run_steps(lambda: LanguageStage(unused=True), strategy, 6, weight_decay=0.1)
    with strategy.scope():
        fresh = LanguageStage(unused=True)
    for variable, start, end in zip(
        stage.trainable_variables, fresh.trainable_variables, weights, strict=True
    ):
        unreached = any(variable is v for v in stage.model.extra.trainable_variables)
        assert np.array_equal(start.numpy(), end) == unreached
    assert len(warnings) == 1
    assert "2 of" in warnings[0]
    assert "kernel" in warnings[0]


def test_dropout_masks_differ_between_replicas(mirrored: tf.distribute.Strategy) -> None:
    with mirrored.scope():
        layer = keras.layers.Dropout(0.5)
        model = keras.Sequential([layer])
        model.build((None, 100))

    @tf.function
    def draw() -> Any:
        return mirrored.run(lambda: model(tf.ones((1, 100)), training=True))

    same = mirrored.experimental_local_results(draw())
    np.testing.assert_array_equal(same[0], same[1])  # the default behavior of Keras
    seed_replicas(model, 0, mirrored)
    a, b = mirrored.experimental_local_results(draw())
    assert not np.array_equal(a, b)
    assert [int(state.numpy()[1]) for state in seed_states(model)] == [2]  # counters were kept


@settings(max_examples=5, deadline=None)
@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_distribute_keeps_the_batches(sizes: list[int]) -> None:
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("one device")
    strategy = engine_toys.make_strategy("mirrored", replicas=2)
    all_sizes = tf.constant(sizes, tf.int64)

    def batch(i: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.range(all_sizes[i % len(sizes)])
        # Each batch is padded to another width, so batches cannot be concatenated.
        return {"x": tf.tile(rows[:, None], [1, i + 1]), "i": i}

    iterator = iter(distribute(tf.data.Dataset.counter().map(batch), strategy))
    for i in range(2 * len(sizes)):
        shares = [
            {key: value.numpy() for key, value in share.items()}
            for share in zip_values(next(iterator))
        ]
        assert [int(share["i"]) for share in shares] == [i, i]
        size = sizes[i % len(sizes)]
        assert [len(share["x"]) for share in shares] == [-(-size // 2), size // 2]
        joined = np.concatenate([share["x"] for share in shares])
        np.testing.assert_array_equal(joined, np.tile(np.arange(size)[:, None], [1, i + 1]))


def zip_values(per_replica: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v.values[r] for k, v in per_replica.items()} for r in range(2)]


def test_results_of_steps_are_unpacked() -> None:
    values = np.array([[1, 2, 3, 4, 5, 6, 7], [1, np.inf, 3, 4, 5, np.inf, 7]], np.float32)
    results = StepResults(["a"], ["x", "y"], values)
    np.testing.assert_array_equal(results.finite, [True, False])
    np.testing.assert_array_equal(results.rows, [3, 3])
    np.testing.assert_array_equal(results.totals["a"], [4, 4])
    np.testing.assert_array_equal(results.normalizers["a"], [5, 5])
    np.testing.assert_array_equal(results.gradient_squares["x"], [6, np.inf])
    assert not StepResults(["a"], [], np.full((1, 5), np.nan, np.float32)).finite.any()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda y: {"a": LossTerm(tf.reduce_sum(y), 1, 0.0)}, "no term with a weight"),
        (lambda y: {}, "no term with a weight"),
        (lambda y: {"a": LossTerm(tf.constant(1.0), 1)}, "depends on none of its 2 trainable"),
    ],
)
def test_useless_losses_are_refused(
    loss: Any, message: str, strategy: tf.distribute.Strategy
) -> None:
    batch = np.ones((2, 3), np.float32)
    with pytest.raises(TrainingError, match=message):
        run_steps(lambda: OneLayerStage(keras.layers.Dense(1), batch, loss), strategy, 1)


def test_unknown_optimizer_lists_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"unknown optimizer 'adamm'.*adam"):
        make_optimizer(options(optimizer="adamm"), [])
