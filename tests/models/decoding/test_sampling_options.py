"""Sampling with decoding options."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.decoding.options import DecodingOptions, contains
from models.decoding.search import Captions, decode
from tests.models.decoding.random_model import RandomModel
from tests.models.decoding.test_constraints import END, divisor, likelihood, rows, rule

MODEL = RandomModel(1, 3, 10, 1.5)
DRAWS = 1500


def drawn(images: list[int], options: DecodingOptions, keys: list[int] | None = None) -> Captions:
    """Draws captions in a graph, because eager sampling runs one operation per draw and image."""
    found: Captions = _drawing(options)(images, range(len(images)) if keys is None else keys)
    return found


@functools.cache
def _drawing(options: DecodingOptions) -> Any:
    """Returns a function of images and keys, compiled once."""
    numbers = tf.TensorSpec([None], tf.int32)

    def draw(images: tf.Tensor, keys: tf.Tensor) -> Captions:
        return decode(MODEL, {"image": images}, options, keys)

    return tf.function(draw, autograph=False, input_signature=[numbers, numbers])


@pytest.mark.parametrize("method", ["sample", "gumbel"])
@pytest.mark.parametrize(
    "narrowed",
    [{}, {"temperature": 0.5}, {"temperature": 3.0, "top_k": 3}, {"top_p": 0.6},
     {"top_k": 4, "top_p": 0.7, "temperature": 2.0}, {"excluded": ((5,),), "min_length": 1},
     {"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-6}, {"temperature": 1000.0, "top_k": 99}],
)  # fmt: skip
def test_words_are_drawn_as_often_as_they_are_likely(method: str, narrowed: dict[str, Any]) -> None:
    options = DecodingOptions(method=method, returned=DRAWS, max_length=2, seed=3, **narrowed)
    found = drawn([1], options)
    first = np.bincount(found.tokens[0, :, 0].numpy(), minlength=10) / DRAWS

    logits = MODEL.step_one(1)(1, 0)[0].astype(np.float64)
    left_out = {0, 1, *(phrase[0] for phrase in options.excluded)}
    left_out |= {END} if options.min_length else set()
    words = sorted((w for w in range(10) if w not in left_out), key=lambda w: -logits[w])
    words = words[: options.top_k]
    p = np.exp((logits[words] - logits[words].max()) / options.temperature)
    p /= p.sum()
    kept = np.cumsum(p) - p < options.top_p
    p = np.where(kept, p, 0) / p[kept].sum()
    wanted = np.zeros(10)
    wanted[words] = p
    assert (np.abs(first - wanted) <= 4.5 * np.sqrt(wanted * (1 - wanted) / DRAWS)).all()


@pytest.mark.parametrize("method", ["sample", "gumbel"])
def test_the_shortlist_gives_the_draws_of_all_words(method: str, monkeypatch: Any) -> None:
    """The shortlist of words does not change draws, also in batches that need all words."""
    logits = 8 * np.random.default_rng(0).normal(size=(6, 300))
    logits[3:] /= 50
    memory = {"image": tf.range(6)}
    model = RandomModel(0, 6, 300, 1.0)
    model.table = np.broadcast_to(logits[:, None, None], model.table.shape).astype(np.float32)
    options = DecodingOptions(method=method, top_p=0.9, returned=3, max_length=4)
    together = decode(model, memory, options)
    few = decode(model, {"image": tf.range(3)}, options)
    np.testing.assert_array_equal(together.tokens[:3], few.tokens)
    monkeypatch.setattr("models.decoding.sampling._SHORTLIST", 10_000)
    np.testing.assert_array_equal(decode(model, memory, options).tokens, together.tokens)


@pytest.mark.parametrize("method", ["sample", "gumbel"])
def test_draws_depend_on_seed_and_key_alone(method: str) -> None:
    def captions(images: list[int], keys: list[int], returned: int, seed: int = 5) -> list[Any]:
        options = DecodingOptions(method=method, returned=returned, max_length=6, seed=seed)
        found = drawn(images, options, keys)
        return [Counter(tuple(words) for words, _ in rows(found, i)) for i in range(len(images))]

    together = captions([0, 1, 2], [7, 8, 9], 6)
    assert together[1:2] == captions([1], [8], 6)
    assert together == captions([2, 1, 0], [9, 8, 7], 6)[::-1]
    assert together != captions([0, 1, 2], [7, 8, 9], 6, seed=6)
    assert together != captions([0, 1, 2], [8, 9, 7], 6)
    fewer = captions([0, 1, 2], [7, 8, 9], 3)
    assert all(few <= more for few, more in zip(fewer, together, strict=True))
    same = captions([1, 1], [4, 4], 6)
    assert same[0] == same[1]


@pytest.mark.parametrize("method", ["sample", "gumbel"])
def test_drawn_captions_have_the_likelihood_of_the_model(method: str) -> None:
    options = DecodingOptions(
        method=method, beam_size=8, max_length=7, temperature=1.5, top_k=7, min_length=2,
        length_penalty="wu", length_normalization=0.9, block_trigrams=True, block_repeats=True,
        bad_endings=(3, 4), excluded=((5, 6), (7,)),
    )  # fmt: skip
    found = drawn([0, 1, 2], options)
    assert found.tokens.shape == (3, 8, 7)
    for image in range(3):
        captions = rows(found, image)
        assert len(captions) == 8
        for place, (words, own) in enumerate(captions):
            assert all(rule(options)(words[:i], word) for i, word in enumerate(words))
            assert not contains(tuple(words), (7,))
            log_p = likelihood(MODEL, image, words)
            np.testing.assert_allclose(own, log_p / divisor(options)(len(words)), rtol=1e-4)
            np.testing.assert_allclose(found.log_probabilities[image, place], log_p, rtol=1e-4)
        scores = [own for words, own in captions if words[-1] == END]
        assert scores == sorted(scores, reverse=True)


def test_drawn_captions_may_run_out_of_words() -> None:
    model = RandomModel(0, 1, 4, 1.0)
    options = DecodingOptions(
        method="sample", returned=5, block_repeats=True, min_length=3, max_length=4
    )
    found = decode(model, {"image": tf.range(1)}, options)
    assert found.tokens.numpy().tolist() == [[[3, 0, 0, 0]] * 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "beem"}, "method must be one of beam, sample, gumbel, found 'beem'"),
        ({"temperature": 0.0}, "temperature must be a number above 0, found 0.0"),
        ({"temperature": float("nan")}, "temperature must be a number above 0, found nan"),
        ({"top_k": 0}, "top_k must be at least 1, found 0"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, found 0.0"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1, found 1.1"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecodingOptions(**options)
