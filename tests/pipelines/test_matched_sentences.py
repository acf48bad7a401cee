"""Sentences drawn by the concepts of images: frequencies, draws, resume, impossible records."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from concept_records import write_toy_records

from pipelines import corpora, images
from pipelines.inputs.concept_noise import ConceptNoise
from pipelines.inputs.concepts import Concepts
from pipelines.matched_sentences import (
    ImageConcepts,
    MatchedSentences,
    image_concepts,
    match_sentences,
)
from tfrecords.core.errors import InputError

# Images have more concepts than a sentence can have, so that sentences cannot match them wholly.
SHARE = 0.3
SETTINGS = {"batch_size": 16, "max_length": 20, "seed": 5, "concepts": Concepts(max_concepts=4)}


@pytest.fixture(scope="module")
def sentences(corpora_folder):
    return corpora.open_corpora(corpora_folder)


@pytest.fixture(scope="module")
def found(images_folder):
    return image_concepts(images.open_images(images_folder))


@pytest.fixture(scope="module")
def matched(sentences, found):
    return match_sentences(sentences, found, SHARE)


def weighted(*weights: float) -> MatchedSentences:
    """Returns sentences, each of which has one word: its number."""
    numbers = tf.RaggedTensor.from_uniform_row_length(tf.range(len(weights)), 1)
    return MatchedSentences(
        columns=dict.fromkeys(("sentence", "concepts", "concept_counts"), numbers),
        weights=tf.constant(weights, tf.float64),
        shares=np.ones(1),
        drawn_shares=np.ones(1),
    )


def epoch(sentences: MatchedSentences, number: int = 0) -> list[int]:
    return [int(i) for i in sentences.epoch(tf.constant([3, number], tf.int64))]


def batches(records, count, first_step=0, **more):
    dataset = corpora.training_batches(records, first_step=first_step, **SETTINGS, **more)
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def equal(a, b):
    return all(
        x.keys() == y.keys() and all(np.array_equal(x[key], y[key]) for key in x)
        for x, y in zip(a, b, strict=True)
    )


def test_a_weight_is_the_number_of_draws_rounded_up_or_down() -> None:
    weights = [0.25] * 6 + [2.5, 1, 4]
    for number in range(40):
        drawn = Counter(epoch(weighted(*weights), number))
        assert drawn.total() == len(weights)
        for i, weight in enumerate(weights):
            assert np.floor(weight) <= drawn[i] <= np.ceil(weight)


def test_the_mean_number_of_draws_is_the_weight() -> None:
    weights = [0.25] * 6 + [2.5, 1, 4]
    drawn = Counter(i for number in range(400) for i in epoch(weighted(*weights), number))
    means = [drawn[i] / 400 for i in range(len(weights))]
    assert means == pytest.approx(weights, abs=0.12)
    assert means[-2:] == [1, 4]


def test_equal_weights_draw_every_sentence_once_in_random_order() -> None:
    first, second = epoch(weighted(*[1.0] * 50)), epoch(weighted(*[1.0] * 50), 1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second and first != sorted(first)


def test_draws_of_a_sentence_are_not_adjacent() -> None:
    drawn = epoch(weighted(20, *[80 / 99] * 99))
    places = [place for place, i in enumerate(drawn) if i == 0]
    assert len(places) == 20
    assert np.ptp(places) > 50


def test_rounding_of_sums_does_not_change_the_number_of_draws() -> None:
    random = np.random.default_rng(0)
    for number in range(5):
        weights = random.random(1001) ** 8
        weights *= len(weights) / weights.sum()
        for error in (1 - 1e-12, 1, 1 + 1e-12):
            assert len(epoch(weighted(*weights * error), number)) == 1001


def test_every_concept_of_an_image_counts_once(images_folder, found) -> None:
    rows = list(images.examples(images.open_images(images_folder), "train"))
    expected = np.zeros(len(found.shares))
    for row in rows:
        expected[row["concepts"]] += 1 / len(rows)
    assert found.images == len(rows) == 17
    np.testing.assert_allclose(found.shares, expected)


def test_drawn_sentences_have_the_concepts_of_images(sentences, found, matched) -> None:
    count = sentences.count("train")
    assert matched.count == count and float(tf.reduce_sum(matched.weights)) == pytest.approx(count)
    drawn = np.zeros(len(found.shares))
    for number in range(20):
        rows = matched.rows(tf.constant(epoch(matched, number), tf.int64))
        drawn += np.bincount(rows["concepts"].flat_values, minlength=len(drawn)) / (20 * count)
    np.testing.assert_allclose(drawn, matched.drawn_shares, atol=0.01)
    before, after = (np.abs(shares - found.shares) for shares in (matched.shares, drawn))
    assert after.sum() < 0.95 * before.sum()
    assert 1 < matched.effective_count < count


def test_a_share_between_the_two_is_between_them(sentences, found) -> None:
    possible = match_sentences(sentences, found, SHARE).drawn_shares
    many = ImageConcepts(shares=possible, images=10**6)
    whole, half = (match_sentences(sentences, many, share) for share in (1.0, 0.5))
    np.testing.assert_allclose(whole.drawn_shares, possible, atol=1e-4)
    np.testing.assert_allclose(half.drawn_shares, (half.shares + possible) / 2, atol=1e-4)
    none = match_sentences(sentences, many, 0.0)
    np.testing.assert_allclose(none.weights, 1, atol=1e-6)
    assert none.effective_count == pytest.approx(none.count)


def test_equal_concepts_have_equal_weights(matched) -> None:
    weights: dict[tuple[int, ...], set[float]] = {}
    rows = matched.columns["concepts"].to_list()
    for row, weight in zip(rows, matched.weights.numpy(), strict=True):
        weights.setdefault(tuple(sorted(row)), set()).add(weight)
    assert all(len(found) == 1 for found in weights.values())
    assert len(set.union(*weights.values())) > 5


def test_batches_have_the_same_number_and_form_as_without_weights(sentences, matched) -> None:
    size = -(-sentences.count("train") // SETTINGS["batch_size"])
    plain, drawn = (batches(sentences, size, matched=m) for m in (None, matched))
    lengths = [sorted(len(b["lengths"]) for b in own) for own in (plain, drawn)]
    assert lengths[0] == lengths[1]
    known, own = (
        {
            tuple(row[: length + 1])
            for batch in found
            for row, length in zip(batch["tokens"].tolist(), batch["lengths"], strict=True)
        }
        for found in (plain, drawn)
    )
    assert own < known
    assert {name: value.dtype for name, value in plain[0].items()} == {
        name: value.dtype for name, value in drawn[0].items()
    }
    assert np.mean([np.ptp(batch["lengths"]) for batch in drawn]) < 2


@pytest.mark.parametrize("first_step", [1, 18, 40])
def test_resume_is_exact(sentences, found, matched, first_step) -> None:
    again = match_sentences(sentences, found, SHARE)
    whole = batches(sentences, first_step + 3, matched=matched)
    assert equal(whole[first_step:], batches(sentences, 3, first_step, matched=again))


def test_noise_is_added_to_drawn_sentences(sentences, matched) -> None:
    noise = ConceptNoise(missed=0.5, false=0.5, ids=np.array([5]), probabilities=np.ones(1))
    plain, noisy = (batches(sentences, 3, matched=matched, noise=n) for n in (None, noise))
    for before, after in zip(plain, noisy, strict=True):
        np.testing.assert_array_equal(before["tokens"], after["tokens"])
        np.testing.assert_array_equal(before["concepts"], after["exact_concepts"])


def test_digests_differ_where_shares_do(found) -> None:
    other = found.shares.copy()
    other[np.flatnonzero(other)[0]] -= 1 / 17
    assert ImageConcepts(shares=other, images=17).digest != found.digest
    assert ImageConcepts(shares=found.shares + 1e-12, images=17).digest == found.digest


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_outside_their_range_are_refused(sentences, found, share) -> None:
    with pytest.raises(InputError, match=r"match_images must be in 0\.\.1"):
        match_sentences(sentences, found, share)


def test_images_without_training_images_are_refused(tmp_path) -> None:
    records = write_toy_records(tmp_path / "images", "images", {"val": ["dog"]})
    with pytest.raises(InputError, match=r"split 'train', but there are only val; .*--split=tr"):
        image_concepts(records)


def test_images_without_a_concept_of_the_sentences_are_refused(sentences, found) -> None:
    nothing = ImageConcepts(shares=np.zeros_like(found.shares), images=3)
    with pytest.raises(InputError, match=r"has a concept of the images.*match_images to 0"):
        match_sentences(sentences, nothing, 1.0)
