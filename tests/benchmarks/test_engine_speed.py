"""What the engine costs beside a bare loop, and what reading the records costs beside memory.

    pytest tests/benchmarks/test_engine_speed.py

Stage 1 of configs/r2m/flickr8k.py on COCO captions.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from configs.r2m import flickr8k
from r2m.engine.optimizers import Adam
from r2m.engine.options import TrainingOptions
from r2m.engine.stage import Evaluation
from r2m.engine.strategies import make_strategy
from r2m.engine.train import train
from r2m.engine.workers import Worker
from r2m.stages.curriculum import stage_spec
from r2m.stages.data import open_data
from r2m.stages.experiment import build_model
from r2m.stages.stage import CurriculumStage
from tfrecords.corpora import CorporaOptions, build_corpora
from tfrecords.readers.text import parse_source

# As many batches as are shuffled and sorted together: their mean length is that of the corpus.
STEPS = 64


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


class Stage(CurriculumStage):
    """Stage 1 that notes when it is evaluated, instead of evaluating."""

    def __init__(self, corpora: Path, *, in_memory: bool) -> None:
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
        self.in_memory, self.times = in_memory, []

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        batches = super().train_dataset(first_step).take(STEPS)
        return (batches.cache() if self.in_memory else batches).repeat()

    def evaluate(self, step: int) -> Evaluation:
        self.times.append(time.perf_counter())
        return Evaluation(metrics={})


def by_the_engine(stage: Stage, workdir: Path) -> float:
    options = TrainingOptions(
        steps=2 * STEPS,
        clip_global_norm=5.0,
        log_every=16,
        evaluate_every=STEPS,
        checkpoint_every=0,
        best_metric=None,
        show_progress=False,
    )
    train(stage, options, workdir, strategy=make_strategy("one_device"))
    first, second = stage.times[-2:]
    return second - first


def by_hand(stage: Stage) -> float:
    variables = stage.trainable_variables
    optimizer = Adam(1e-3, epsilon=1e-8)
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def step(batch: Any) -> tf.Tensor:
        with tf.GradientTape() as tape:
            (term,) = stage.loss(batch, training=True).values()
            loss = term.total / term.normaliser
        found = tape.gradient(loss, [variable.value for variable in variables])
        gradients = [tf.convert_to_tensor(gradient) for gradient in found]
        gradients, _ = tf.clip_by_global_norm(gradients, 5.0)
        optimizer.apply(gradients, variables)
        return loss

    batches = iter(stage.train_dataset(0))
    for turn in range(2 * STEPS):
        if turn == STEPS:
            started = time.perf_counter()
        loss = step(next(batches))
        if turn % 16 == 15:
            float(loss)
    return time.perf_counter() - started


@pytest.mark.benchmark(group=f"{STEPS} steps of stage 1", warmup=False)
@pytest.mark.parametrize("way", ["engine", "engine, batches in memory", "bare loop in memory"])
def test_steps(benchmark: Any, way: str, corpora: Path, tmp_path: Path) -> None:
    seconds = []

    def once() -> None:
        stage = Stage(corpora, in_memory="memory" in way)
        run = tmp_path / str(len(seconds))
        seconds.append(by_the_engine(stage, run) if "engine" in way else by_hand(stage))

    benchmark.pedantic(once, rounds=2)
    # The rounds themselves hold compilation too: what counts is this.
    benchmark.extra_info["seconds_per_step"] = [round(s / STEPS, 4) for s in seconds]
    print(f"\n{way}: {benchmark.extra_info['seconds_per_step']} s a step")
