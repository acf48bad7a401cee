"""Up-down and att2in2 at their published sizes, against implementations that go step by step.

    pytest tests/benchmarks/test_captioner_speed.py -s

512 units, 9,487 words, 10 images of 36 regions of 2,048 with 5 captions each. Training against a
loop over all padded positions with the logits inside; beam search over 5 hypotheses for all images
at once in the graph against one image at a time. The two ways take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from losses.captions import caption_loss
from models import decoding
from models.captioners import build_captioner
from r2m.engine.optimization.optimizers import Adam

# Words and the four markers.
VOCABULARY, LENGTH, IMAGES, CAPTIONS = 9_487 + 4, 17, 10, 5
TURNS, STEPS = 1 + 6, 3
DECODED, BEAM = 100, 5


def batch(seed: int) -> dict[str, tf.Tensor]:
    """Captions of 7 to 17 words, end marker included, as long as COCO's."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.normal(10.5, 2.4, IMAGES * CAPTIONS).round(), 6, 16).astype(int) + 1
    tokens = rng.integers(4, VOCABULARY, (len(lengths), LENGTH + 1))
    tokens[:, 0] = 1
    for row, length in zip(tokens, lengths, strict=True):
        row[length], row[length + 1 :] = 2, 0
    return {
        "regions": tf.constant(rng.random((IMAGES, 36, 2_048)), tf.float32),
        "tokens": tf.constant(tokens, tf.int32),
        "lengths": tf.constant(lengths, tf.int32),
    }


def encoded(model: Any, images: dict[str, tf.Tensor]) -> Any:
    memory = model.encode({"regions": images["regions"]}, training=True)
    return tf.nest.map_structure(lambda x: tf.repeat(x, CAPTIONS, axis=0), memory)


def ours(model: Any, data: dict[str, tf.Tensor]) -> tf.Tensor:
    tokens = data["tokens"][:, : tf.reduce_max(data["lengths"]) + 1]
    hidden = model.teacher_forced(
        encoded(model, data), tokens[:, :-1], training=True, lengths=data["lengths"]
    )
    total, words = caption_loss(hidden, *model.output_layer, tokens[:, 1:], data["lengths"])
    return total / words


def step_by_step(model: Any, data: dict[str, tf.Tensor]) -> tf.Tensor:
    memory, tokens = encoded(model, data), data["tokens"]
    state, total = model.initial_state(memory), 0.0
    real = tf.sequence_mask(data["lengths"], LENGTH, tf.float32)
    for step in range(LENGTH):
        hidden, state = model.step(tokens[:, step], state, memory, training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tokens[:, step + 1], logits=model.logits(hidden)
        )
        total += tf.reduce_sum(losses * real[:, step])
    return total / tf.reduce_sum(real)


def trainer(name: str, loss_of: Callable[..., tf.Tensor]) -> Callable[[int], float]:
    keras.utils.set_random_seed(0)
    model = build(name)
    variables = model.trainable_variables
    optimizer = Adam(5e-4)
    optimizer.build(variables)

    @tf.function(reduce_retracing=True, autograph=False)
    def step(data: dict[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(model, data)
        found = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in found], variables)
        return loss

    def run(first: int) -> float:
        started = time.perf_counter()
        losses = [float(step(batches[(first + i) % len(batches)])) for i in range(STEPS)]
        assert np.isfinite(losses).all()
        return time.perf_counter() - started

    batches = [batch(seed) for seed in range(6)]
    return run


def build(name: str) -> Any:
    return build_captioner(
        name, vocabulary_size=VOCABULARY, global_size=None, region_size=2_048, grid_cells=36
    )


def show(what: str, rows: int, found: dict[str, list[float]]) -> None:
    speeds = {way: rows / np.array(seconds[1:]) for way, seconds in found.items()}
    for way, each in speeds.items():
        print(f"\n{what}, {way}: median {np.median(each):.1f}/s, best {each.max():.1f}/s", end="")
    first, second = (np.median(each) for each in speeds.values())
    print(f"\n{what}: {first / second:.2f} times as fast (medians)")


@pytest.mark.parametrize("name", ["updown", "att2in2"])
def test_training(name: str) -> None:
    ways = {"ours": trainer(name, ours), "step by step": trainer(name, step_by_step)}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(TURNS):
        for way, run in ways.items():
            found[way].append(run(turn * STEPS))
    show(f"{name}, captions in training", STEPS * IMAGES * CAPTIONS, found)


@pytest.mark.parametrize("name", ["updown", "att2in2"])
def test_both_losses_are_the_same(name: str) -> None:
    model = build_captioner(
        name, vocabulary_size=VOCABULARY, global_size=None, region_size=2_048, grid_cells=36,
        units=32, dropout=0.0,
    )  # fmt: skip
    np.testing.assert_allclose(*(way(model, batch(0)) for way in (ours, step_by_step)), rtol=1e-5)


@pytest.mark.parametrize("name", ["updown", "att2in2"])
def test_beam_search(name: str) -> None:
    keras.utils.set_random_seed(0)
    model = build(name)
    # Captions end after some ten words, as trained ones do.
    bias = np.zeros(VOCABULARY, "f")
    bias[2] = np.log(VOCABULARY / 10)
    model.word_output.bias.assign(bias)
    options = decoding.DecodingOptions(beam_size=BEAM, max_length=16)
    rng = np.random.default_rng(0)
    regions = tf.constant(rng.random((DECODED, 36, 2_048)), tf.float32)

    @tf.function(autograph=False)
    def together(regions: tf.Tensor) -> tf.Tensor:
        return decoding.decode(model, model.encode({"regions": regions}), options).tokens

    encode = tf.function(lambda regions: model.encode({"regions": regions}), autograph=False)

    @tf.function(autograph=False)
    def one_step(tokens: tf.Tensor, state: Any, memory: Any) -> tuple[tf.Tensor, Any]:
        hidden, state = model.step(tokens, state, memory)
        return tf.nn.log_softmax(model.logits(hidden)), state

    def alone(image: int) -> list[int]:
        """The five hypotheses of one image are a batch; the search itself is NumPy's."""
        memory = tf.nest.map_structure(
            lambda x: tf.repeat(x, BEAM, axis=0), encode(regions[image : image + 1])
        )
        state = model.initial_state(memory)
        words = np.ones((BEAM, 1), np.int32)
        scores = np.array([0.0] + [-np.inf] * (BEAM - 1))
        best: tuple[float, list[int]] = (-np.inf, [])
        for _ in range(options.max_length):
            log_p, state = one_step(tf.constant(words[:, -1]), state, memory)
            sums = scores[:, None] + log_p.numpy()
            sums[:, list(options.suppressed)] = -np.inf
            chosen = np.argpartition(sums, -2 * BEAM, axis=None)[-2 * BEAM :]
            chosen = chosen[np.argsort(-sums.flat[chosen])]
            parents, nexts = np.divmod(chosen, VOCABULARY)
            ends = nexts == options.end_id
            for row in chosen[ends]:
                if sums.flat[row] > best[0]:
                    best = (sums.flat[row], words[row // VOCABULARY, 1:].tolist())
            parents, nexts = parents[~ends][:BEAM], nexts[~ends][:BEAM]
            scores = sums[parents, nexts]
            words = np.concatenate([words[parents], nexts[:, None].astype(np.int32)], axis=1)
            state = tf.nest.map_structure(lambda x, rows=parents: tf.gather(x, rows), state)
            if best[0] > scores[0]:
                break
        return best[1] if best[0] > scores[0] else words[0, 1:].tolist()

    assert alone(0) == [int(w) for w in together(regions)[0, 0].numpy() if w not in (0, 2)]
    found: dict[str, list[float]] = {"ours": [], "one by one": []}
    for _ in range(1 + 3):
        started = time.perf_counter()
        together(regions).numpy()
        found["ours"].append(time.perf_counter() - started)
        started = time.perf_counter()
        for image in range(DECODED // 10):
            alone(image)
        found["one by one"].append(10 * (time.perf_counter() - started))
    show(f"{name}, images in beam search", DECODED, found)
