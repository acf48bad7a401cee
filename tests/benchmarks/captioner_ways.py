"""Compared implementations of training and search: ours, and plain step-by-step loops.

The captioners have the published sizes and 512 units; words, images and captions are those of
`captioner_data.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import captioner_data
import keras
import numpy as np
import tensorflow as tf
from captioner_data import (
    ALONE,
    BEAM,
    CAPTIONS,
    DECODED,
    IMAGES,
    LENGTH,
    LONGEST,
    STEPS,
    VOCABULARY,
)
from turns import Way

from losses.caption_losses import caption_loss
from models.captioners.base import Captioner
from models.captioners.registry import build_captioner
from models.decoding.search import DecodingOptions, decode
from models.layers import image_rows
from r2m.configuration.settings import precision
from r2m.engine.distribution.cores import configure_threads
from r2m.engine.optimization.optimizers import Adam, make_optimizer
from r2m.engine.options import TrainingOptions
from r2m.engine.stage import LossTerm
from r2m.engine.step import make_train_loop

AT_ONCE = 2


def batch(seed: int) -> dict[str, tf.Tensor]:
    """Returns a training batch."""
    regions, tokens, lengths = captioner_data.batch(seed)
    return {
        "regions": tf.constant(regions),
        "tokens": tf.constant(tokens.reshape(IMAGES, CAPTIONS, -1), tf.int32),
        "lengths": tf.constant(lengths.reshape(IMAGES, CAPTIONS), tf.int32),
    }


class Ours:
    """The part of a stage that the engine needs."""

    name, compares_rows, compiles = "speed", False, False

    def __init__(self, model: Any) -> None:
        self.model, self.trainable_variables = model, model.trainable_variables

    def loss(self, data: dict[str, tf.Tensor], training: bool) -> dict[str, LossTerm]:
        lengths = tf.reshape(data["lengths"], [-1])
        tokens = tf.reshape(data["tokens"], [-1, LENGTH + 1])[:, : tf.reduce_max(lengths) + 1]
        hidden = self.model.teacher_forced(
            self.model.encode({"regions": data["regions"]}, training=training),
            tokens[:, :-1],
            training=training,
            lengths=lengths,
        )
        pair = caption_loss(hidden, *self.model.output_layer, tokens[:, 1:], lengths)
        return {"cross_entropy": LossTerm(*pair)}


def step_by_step(model: Any, data: dict[str, tf.Tensor]) -> tf.Tensor:
    memory = tf.nest.map_structure(
        lambda x: tf.repeat(x, CAPTIONS, axis=0),
        model.encode({"regions": data["regions"]}, training=True),
    )
    tokens, lengths = (
        tf.reshape(data["tokens"], [-1, LENGTH + 1]),
        tf.reshape(data["lengths"], [-1]),
    )
    state, total = model.initial_state(memory, LENGTH), 0.0
    real = tf.sequence_mask(lengths, LENGTH, tf.float32)
    for step in range(LENGTH):
        hidden, state = model.step(tokens[:, step], state, memory, training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tokens[:, step + 1], logits=model.logits(hidden)
        )
        total += tf.reduce_sum(losses * real[:, step])
    return total / tf.reduce_sum(real)


def training_by_the_engine(name: str, *, parts: int = 1, dtypes: str = "float32") -> Way:
    configure_threads(parts)
    with precision(dtypes):
        stage = Ours(build(name))
    options = TrainingOptions(
        steps=1, learning_rate=5e-4, clip_value=0.1, micro_batches=parts, at_once=parts
    )
    optimizer = make_optimizer(options, stage.trainable_variables)
    loop = make_train_loop(stage, optimizer, options, tf.distribute.get_strategy())
    together = tf.nest.map_structure(lambda *x: tf.stack(x), *map(batch, range(6)))
    batches = iter(tf.data.Dataset.from_tensor_slices(together).repeat())

    def run(turn: int) -> int:
        del turn
        assert np.isfinite(loop(batches, STEPS).objective).all()
        return STEPS * IMAGES * CAPTIONS

    return run


def training_step_by_step(name: str, *, keras_adam: bool) -> Way:
    """Returns a plain training loop, with the optimizer of Keras or ours."""
    model = build(name)
    variables = model.trainable_variables
    optimizer = (keras.optimizers.Adam if keras_adam else Adam)(5e-4)
    optimizer.build(variables)
    batches = [batch(seed) for seed in range(6)]

    @tf.function(reduce_retracing=True, autograph=False)
    def step(data: dict[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = step_by_step(model, data)
        found = tape.gradient(loss, [variable.value for variable in variables])
        found = [tf.clip_by_value(tf.convert_to_tensor(gradient), -0.1, 0.1) for gradient in found]
        optimizer.apply(found, variables)
        return loss

    def run(turn: int) -> int:
        for i in range(STEPS):
            assert np.isfinite(float(step(batches[(turn * STEPS + i) % len(batches)])))
        return STEPS * IMAGES * CAPTIONS

    return run


def searching_together(name: str, *, dtypes: str = "float32") -> Way:
    """Returns our search; in float32, its first captions must equal those of `searched_alone`."""
    configure_threads(AT_ONCE)
    with precision(dtypes):
        model = Ending(build(name))
    options = DecodingOptions(beam_size=BEAM, returned=1, max_length=LONGEST)
    parts = [images(part, AT_ONCE) for part in range(AT_ONCE)]

    @tf.function(autograph=False)
    def search(shown: dict[str, tf.Tensor]) -> tf.Tensor:
        return decode(model, model.encode(shown), options).tokens[:, 0]

    def run(turn: int) -> int:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            found = np.concatenate(list(threads.map(lambda part: search(part).numpy(), parts)))
        if turn == 0 and dtypes == "float32":
            for image in range(ALONE):
                said = [int(word) for word in found[image] if word not in (0, 2)]
                assert said == searched_alone(model, image, stops=True)
        return DECODED

    return run


def searching_one_by_one(name: str, *, stops: bool) -> Way:
    model = Ending(build(name))
    all_images()  # not in the time of a turn

    def run(turn: int) -> int:
        for image in range(ALONE):
            searched_alone(model, (turn * ALONE + image) % DECODED, stops=stops)
        return ALONE

    return run


def searched_alone(model: Any, image: int, *, stops: bool) -> list[int]:
    """Searches captions of one image in NumPy, with its hypotheses as a batch, as code of 2017 did.

    The search runs all steps and sorts all words of each hypothesis. With `stops` it ends once the
    best caption is certain, and sorts only the words that it needs.
    """
    encode, one_step = programs(model)
    memory = encode(images(image, DECODED))
    memory = tf.nest.map_structure(lambda x: tf.repeat(x, BEAM, axis=0), memory)
    state = model.initial_state(memory, LONGEST)
    words = np.ones((BEAM, 1), np.int32)
    scores = np.array([0.0] + [-np.inf] * (BEAM - 1), np.float32)
    best: tuple[float, list[int]] = (-np.inf, [])
    for _ in range(LONGEST):
        log_p, state = one_step(tf.constant(words[:, -1]), state, memory)
        sums = scores[:, None] + log_p.numpy()
        sums[:, [0, 1]] = -np.inf
        if stops:
            chosen = np.argpartition(sums, -2 * BEAM, axis=None)[-2 * BEAM :]
        else:
            of_each = np.argsort(-sums, axis=1)[:, : 2 * BEAM]
            chosen = (of_each + np.arange(BEAM)[:, None] * VOCABULARY).ravel()
        chosen = chosen[np.argsort(-sums.flat[chosen], kind="stable")][: 2 * BEAM]
        parents, nexts = np.divmod(chosen, VOCABULARY)
        ends = nexts == 2
        for row in chosen[ends]:
            if sums.flat[row] > best[0]:
                best = (sums.flat[row], words[row // VOCABULARY, 1:].tolist())
        parents, nexts = parents[~ends][:BEAM], nexts[~ends][:BEAM]
        scores = sums[parents, nexts]
        words = np.concatenate([words[parents], nexts[:, None].astype(np.int32)], axis=1)
        state = tf.nest.map_structure(lambda x, rows=parents: tf.gather(x, rows), state)
        if stops and best[0] > scores[0]:
            break
    return best[1] if best[0] > scores[0] else words[0, 1:].tolist()


@functools.cache
def programs(model: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Returns a function that encodes images, and a step that returns log-probabilities."""

    def one_step(tokens: tf.Tensor, state: Any, memory: Any) -> tuple[tf.Tensor, Any]:
        hidden, state = model.step(tokens, state, memory)
        return tf.nn.log_softmax(model.logits(hidden)), state

    return tf.function(model.encode, autograph=False), tf.function(one_step, autograph=False)


def images(part: int, parts: int) -> dict[str, tf.Tensor]:
    """Returns one of `parts` equal parts of all images."""
    rows = slice(part * DECODED // parts, (part + 1) * DECODED // parts)
    return {name: tensor[rows] for name, tensor in all_images().items()}


@functools.cache
def all_images() -> dict[str, tf.Tensor]:
    """Returns regions and the lengths that captions must have (distributed as in COCO)."""
    regions, words = captioner_data.all_images()
    return {"regions": tf.constant(regions), "words": tf.constant(words, tf.int32)}


class Ending(Captioner):
    """Captioner with random weights whose captions have realistic lengths.

    Without this, the most likely caption of random weights would be empty and found in one step.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    shares_memory = True

    def encode(self, shown: dict[str, tf.Tensor], training: bool = False) -> Any:
        return self._model.encode({"regions": shown["regions"]}), shown["words"]

    def initial_state(self, memory: Any, max_length: int) -> Any:
        return self._model.initial_state(memory[0], max_length), tf.zeros_like(memory[1])

    def step(self, tokens: tf.Tensor, state: Any, memory: Any, training: bool = False) -> Any:
        hidden, inner = self._model.step(tokens, state[0], memory[0])
        ends = state[1] >= image_rows.repeat(memory[1], tf.shape(tokens)[0])
        return (hidden, ends), (inner, state[1] + 1)

    def logits(self, hidden: Any) -> tf.Tensor:
        # As in the PyTorch implementation, only the logit of the end marker is changed.
        rows = tf.range(tf.shape(hidden[1])[0])
        places = tf.stack([rows, tf.fill(tf.shape(rows), 2)], axis=1)
        ends = tf.where(hidden[1], 30.0, -30.0)
        logits = self._model.logits(hidden[0])
        return tf.ensure_shape(tf.tensor_scatter_nd_add(logits, places, ends), [None, VOCABULARY])


def build(name: str, **changes: Any) -> Any:
    keras.utils.set_random_seed(0)
    return build_captioner(
        name, vocabulary_size=VOCABULARY, global_size=None, region_size=2_048, grid_cells=36,
        **changes,
    )  # fmt: skip
