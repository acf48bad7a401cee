"""Cost of the engine against a bare loop, and of reading records against data in memory.

    pytest tests/benchmarks/test_engine_speed.py -s

Stage 1 of configs/r2m/flickr8k.py on COCO captions. The two ways take turns of a few seconds, so
that other work on the machine slows both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from configs.r2m import flickr8k
from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.distribution.workers import Worker
from r2m.engine.optimization.optimizers import Adam
from r2m.engine.options import TrainingOptions
from r2m.engine.stage import Evaluation
from r2m.engine.train import train
from r2m.inference.r2m_model import build_model
from r2m.tasks.unsupervised_captioning.curriculum import stage_spec
from r2m.tasks.unsupervised_captioning.data import open_data
from r2m.tasks.unsupervised_captioning.stage import CurriculumStage
from tfrecords.builders.corpora.build import CorporaOptions, build_corpora
from tfrecords.formats.text.reading import parse_source

# As many batches as are shuffled and sorted together: their mean length is that of the corpus.
WINDOW = 64
# Steps in a turn, and turns of which the first, which compiles, does not count.
STEPS, TURNS = 32, 1 + 12


@pytest.fixture(scope="module")
def corpora(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records") / "corpora"
    build_corpora(
        CorporaOptions(
            folder=folder,
            name="coco",
            sources=[parse_source(str(shared_data / "coco" / "captions_val2017.json"))],
            label_maps=[shared_data / "label_maps" / "mscoco_label_map.pbtxt"],
            min_count=5,
        ),
        progress=False,
    )
    return folder


def now() -> np.ndarray:
    """Returns wall time and CPU time of all threads of this process, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


class Stage(CurriculumStage):
    """Stage 1 that records the time between evaluations; each evaluation calls `between`."""

    def __init__(self, corpora: Path, *, in_memory: bool = True) -> None:
        config = flickr8k.get_config()
        config.data.corpora = str(corpora)
        data = open_data(config, 0)
        keras.utils.set_random_seed(0)
        super().__init__(
            spec=stage_spec("xe"),
            config=config,
            data=data,
            model=build_model(config.model, data.vocabulary, None),
            backbone=None,
            worker=Worker(),
        )
        self.in_memory = in_memory
        self.seconds: list[np.ndarray] = []
        self.between: Callable[[], Any] = lambda: None
        self._started = now()

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        batches = super().train_dataset(first_step)
        return batches.take(WINDOW).cache().repeat() if self.in_memory else batches

    def evaluate(self, step: int) -> Evaluation:
        self.seconds.append(now() - self._started)
        self.between()
        self._started = now()
        return Evaluation(metrics={})


def bare_loop(stage: Stage) -> Callable[[int], tuple[np.ndarray, float]]:
    """Trains for some steps; returns the time they took, and seconds spent waiting for batches."""
    variables = stage.trainable_variables
    optimizer = Adam(1e-3, epsilon=1e-8)
    optimizer.build(variables)
    batches = iter(stage.train_dataset(0))

    @tf.function(reduce_retracing=True)
    def step(batch: Any) -> tf.Tensor:
        with tf.GradientTape() as tape:
            (term,) = stage.loss(batch, training=True).values()
            loss = term.total / term.normalizer
        found = tape.gradient(loss, [variable.value for variable in variables])
        gradients = [tf.convert_to_tensor(gradient) for gradient in found]
        gradients, _ = tf.clip_by_global_norm(gradients, 5.0)
        optimizer.apply(gradients, variables)
        return loss

    def run(steps: int) -> tuple[np.ndarray, float]:
        waited, started = 0.0, now()
        for _ in range(steps):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            loss = step(batch)
        assert np.isfinite(float(loss))
        return now() - started, waited

    return run


def show(steps: int, **ways: list[np.ndarray]) -> None:
    for index, clock in enumerate(("wall", "CPU")):
        seconds = {way: np.array(turns)[:, index] / steps for way, turns in ways.items()}
        for way, found in seconds.items():
            print(f"\n{way}: {clock} mean {found.mean():.4f} s, median {np.median(found):.4f} s")
        first, second = seconds.values()
        print(
            f"{clock} quotient: {first.mean() / second.mean():.3f} of the means, "
            f"{np.median(first) / np.median(second):.3f} of the medians"
        )


def test_engine(corpora: Path, tmp_path: Path) -> None:
    """Compares the engine with a bare loop; both have their batches in memory."""
    stage, seconds = Stage(corpora), []
    other = bare_loop(Stage(corpora))
    stage.between = lambda: seconds.append(other(STEPS)[0])
    options = TrainingOptions(
        steps=TURNS * STEPS,
        clip_global_norm=5.0,
        log_every=STEPS,
        evaluate_every=STEPS,
        checkpoint_every=0,
        best_metric=None,
        show_progress=False,
    )
    train(stage, options, tmp_path, strategy=make_strategy("one_device"))
    assert len(stage.seconds) == len(seconds) == TURNS
    show(STEPS, engine=stage.seconds[1:], bare_loop=seconds[1:])


def test_records(corpora: Path) -> None:
    """Compares reading records with data in memory.

    A turn takes two windows of batches, because one window may be prefetched during the other turn.
    """
    steps = 2 * WINDOW
    ways = {
        "records": bare_loop(Stage(corpora, in_memory=False)),
        "memory": bare_loop(Stage(corpora)),
    }
    found: dict[str, list[tuple[np.ndarray, float]]] = {way: [] for way in ways}
    for _ in range(1 + 4):
        for way, run in ways.items():
            found[way].append(run(steps))
    show(steps, **{way: [seconds for seconds, _ in turns[1:]] for way, turns in found.items()})
    for way, turns in found.items():
        share = sum(waited for _, waited in turns[1:]) / sum(spent[0] for spent, _ in turns[1:])
        print(f"{way}: waited for batches {share:.2%} of the time")
