"""Every optimizer against a NumPy loop written from its formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_toys import options

from r2m.engine.errors import TrainingError
from r2m.engine.known_settings import OPTIMIZERS
from r2m.engine.optimization.optimizers import clip_and_decay, make_optimizer
from r2m.engine.options import OptimizerSettings, ScheduleOptions

LR = 0.1
START = np.array([[1.0, -2.0], [0.5, 3.0]])
CONSTANT = [np.array([[0.3, -1.0], [2.0, 0.01]])] * 5
VARYING = list(np.random.default_rng(0).normal(size=(5, 2, 2)))

Rule = Callable[[list[np.ndarray]], np.ndarray]


def adam(gradients: list[np.ndarray], decay: float = 0.0, b1: float = 0.9) -> np.ndarray:
    x, m, v = START.copy(), np.zeros((2, 2)), np.zeros((2, 2))
    for t, g in enumerate(gradients, 1):
        x = x - LR * decay * x
        m, v = b1 * m + (1 - b1) * g, 0.999 * v + 0.001 * g**2
        x = x - LR * np.sqrt(1 - 0.999**t) / (1 - b1**t) * m / (np.sqrt(v) + 1e-8)
    return x


def kiros_adam(gradients: list[np.ndarray]) -> np.ndarray:
    x, m, v = START.copy(), np.zeros((2, 2)), np.zeros((2, 2))
    for t, g in enumerate(gradients, 1):
        m, v = 0.1 * g + 0.9 * m, 0.001 * g**2 + 0.999 * v
        x = x - LR * np.sqrt(1 - 0.001**t) / (1 - 0.1**t) * m / (np.sqrt(v) + 1e-8)
    return x


def rmsprop(gradients: list[np.ndarray], rho: float = 0.9, momentum: float = 0.0) -> np.ndarray:
    x, v, u = START.copy(), np.zeros((2, 2)), np.zeros((2, 2))
    for g in gradients:
        v = rho * v + (1 - rho) * g**2
        u = momentum * u + LR * g / np.sqrt(v + 1e-7)
        x = x - u
    return x


def sgd(gradients: list[np.ndarray], momentum: float = 0.0, nesterov: bool = False) -> np.ndarray:
    x, u = START.copy(), np.zeros((2, 2))
    for g in gradients:
        u = momentum * u - LR * g
        x = x + (momentum * u - LR * g if nesterov else u)
    return x


def adagrad(gradients: list[np.ndarray]) -> np.ndarray:
    x, total = START.copy(), np.full((2, 2), 0.1)
    for g in gradients:
        total = total + g**2
        x = x - LR * g / np.sqrt(total + 1e-7)
    return x


CASES = [
    ("adam", {}, {}, adam),
    ("adam", {"beta_1": 0.5}, {}, lambda g: adam(g, b1=0.5)),
    ("adamw", {}, {"weight_decay": 0.5}, lambda g: adam(g, decay=0.5)),
    ("kiros_adam", {}, {}, kiros_adam),
    ("rmsprop", {}, {}, rmsprop),
    ("rmsprop", {"rho": 0.8, "momentum": 0.5}, {}, lambda g: rmsprop(g, 0.8, 0.5)),
    ("sgd", {}, {}, sgd),
    ("sgd", {"momentum": 0.9}, {}, lambda g: sgd(g, 0.9)),
    ("sgd", {"momentum": 0.9, "nesterov": True}, {}, lambda g: sgd(g, 0.9, True)),
    ("adagrad", {}, {}, adagrad),
]


@pytest.mark.parametrize("gradients", [CONSTANT, VARYING], ids=["constant", "varying"])
@pytest.mark.parametrize(("name", "settings", "changes", "rule"), CASES)
def test_follows_its_formula(
    name: str,
    settings: dict[str, Any],
    changes: dict[str, Any],
    rule: Rule,
    gradients: list[np.ndarray],
    strategy: tf.distribute.Strategy,
) -> None:
    chosen = options(
        optimizer=name,
        optimizer_settings=OptimizerSettings(**settings),
        learning_rate=LR,
        # A schedule without effect, so that the rate comes from the graph as with other schedules.
        schedule=ScheduleOptions(name="step", decay_every=1000),
        **changes,
    )
    with strategy.scope():
        variable = keras.Variable(START, dtype="float32")
        optimizer = make_optimizer(chosen, [variable])

    @tf.function
    def steps(values: tf.Tensor) -> None:
        for gradient in values:
            strategy.run(apply, (gradient,))

    def apply(gradient: tf.Tensor) -> None:
        replicas = strategy.num_replicas_in_sync
        optimizer.apply([gradient / float(replicas)], [variable])

    steps(tf.constant(np.array(gradients), tf.float32))
    expected = rule(gradients)
    assert abs(expected - START).min() > 1e-3
    for copy in strategy.experimental_local_results(variable.value):
        np.testing.assert_allclose(copy.numpy(), expected, rtol=1e-5, atol=2e-5)


def test_all_have_a_case() -> None:
    assert {name for name, *_ in CASES} == set(OPTIMIZERS)


def test_steps_of_kiros_adam_in_learning_rates() -> None:
    """Published figures for a constant gradient."""
    variable = keras.Variable(np.zeros(1), dtype="float32")
    optimizer = make_optimizer(options(optimizer="kiros_adam", learning_rate=1.0), [variable])

    @tf.function
    def step() -> tf.Tensor:
        before = tf.identity(variable.value)
        optimizer.apply([tf.ones(1)], [variable])
        return before - variable.value

    found = [float(step()[0]) for _ in range(500)]
    golden = {1: 3.51, 2: 4.29, 5: 5.80, 12: 6.57, 50: 4.50, 100: 3.24, 500: 1.59}
    for t, expected in golden.items():
        assert found[t - 1] == pytest.approx(expected, abs=0.006), t
    assert int(np.argmax(found)) == 11


def test_kiros_adam_is_rebuilt_from_its_config() -> None:
    variable = keras.Variable(np.zeros(1), dtype="float32")
    settings = OptimizerSettings(beta_1=0.7, epsilon=1e-3)
    made = make_optimizer(options(optimizer="kiros_adam", optimizer_settings=settings), [variable])
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert type(again) is type(made)
    assert (again.beta_1, again.beta_2, again.epsilon) == (0.7, 0.999, 1e-3)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("adamm", {}, "unknown optimizer 'adamm'; known: adagrad, adam, adamw, kiros"),
        ("adam", {"momentum": 0.9}, r"'adam' has no setting momentum=0.9; .*: beta_1, beta_2, eps"),
        ("sgd", {"rho": 0.9, "beta_1": 0.5}, "'sgd' has no setting beta_1=0.5, rho=0.9"),
    ],
)
def test_settings_that_are_not_there(name: str, settings: dict[str, Any], message: str) -> None:
    chosen = options(optimizer=name, optimizer_settings=OptimizerSettings(**settings))
    with pytest.raises(TrainingError, match=message):
        make_optimizer(chosen, [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 1.0}, "momentum=1.0: expected at least 0 and below 1"),
        ({"epsilon": 0.0}, "epsilon=0.0: expected above 0"),
        ({"nesterov": True}, "nesterov=True needs a momentum"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimizerSettings(**settings)


class TestClipping:
    GRADIENTS = (np.array([3.0, -0.05]), np.array([[4.0]]))
    WEIGHTS = (np.array([1.0, 2.0]), np.array([[-3.0]]))

    def clipped(self, **changes: Any) -> list[np.ndarray]:
        values = {"clip_global_norm": None, **changes}
        gradients = [tf.constant(gradient) for gradient in self.GRADIENTS]
        variables = [keras.Variable(weights, dtype="float64") for weights in self.WEIGHTS]
        norm = tf.linalg.global_norm(gradients)
        found = clip_and_decay(gradients, variables, norm, options(**values))
        return [tensor.numpy() for tensor in found]

    def expect(self, found: list[np.ndarray], expected: list[list[Any]]) -> None:
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7)

    def test_none(self) -> None:
        self.expect(self.clipped(), [[3.0, -0.05], [[4.0]]])

    def test_by_global_norm(self) -> None:
        scale = 0.5 / np.sqrt(9 + 0.0025 + 16)
        expected = [[3 * scale, -0.05 * scale], [[4 * scale]]]
        self.expect(self.clipped(clip_global_norm=0.5), expected)

    def test_by_value(self) -> None:
        self.expect(self.clipped(clip_value=0.1), [[0.1, -0.05], [[0.1]]])

    def test_decay_is_added_after_clipping_unless_it_is_decoupled(self) -> None:
        decayed = self.clipped(clip_value=0.1, weight_decay=0.5)
        self.expect(decayed, [[0.6, 0.95], [[-1.4]]])
        decoupled = self.clipped(clip_value=0.1, weight_decay=0.5, optimizer="adamw")
        self.expect(decoupled, [[0.1, -0.05], [[0.1]]])

    def test_both_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"clip_global_norm=1.0 and clip_value=0.1: .* one of"):
            options(clip_global_norm=1.0, clip_value=0.1)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_variable_may_have_a_learning_rate_of_its_own(name: str) -> None:
    """The result is that of training the variable alone at its rate."""

    def trained(rate: float, factors: list[float] | None) -> list[np.ndarray]:
        variables = [keras.Variable(START), keras.Variable(START)]
        settings = options(optimizer=name, learning_rate=rate)
        optimizer = make_optimizer(settings, variables, factors=factors)
        for gradient in VARYING:
            optimizer.apply([tf.constant(gradient, tf.float32)] * 2, variables)
        return [variable.numpy() for variable in variables]

    plain, slow = trained(0.1, None)[0], trained(0.02, None)[0]
    found = trained(0.1, [1.0, 0.2])
    np.testing.assert_allclose(found[0], plain, rtol=1e-6)
    np.testing.assert_allclose(found[1], slow, rtol=1e-6)
    assert np.abs(plain - slow).max() > 1e-3
