"""Noise in the concepts of training sentences: rates, what is added, and resume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from pipelines import corpora, images
from pipelines.inputs.concept_noise import ConceptNoise, estimate_noise
from pipelines.inputs.concepts import Concepts

ROWS, CONCEPTS = 4000, [11, 12, 13]


def _noise(missed=0.0, false=0.0):
    return ConceptNoise(
        missed=missed, false=false, ids=np.array([5, 7]), probabilities=np.array([0.25, 0.75])
    )


def _add(noise, key=1):
    ids = tf.RaggedTensor.from_uniform_row_length(tf.constant(CONCEPTS * ROWS, tf.int64), 3)
    counts = ids.with_flat_values(tf.fill([3 * ROWS], tf.constant(2, tf.int64)))
    return noise.add(ids, counts, tf.constant([3, key], tf.int64))


def test_concepts_are_missed_at_the_given_rate():
    ids, counts = _add(_noise(missed=0.3))
    assert ids.row_lengths().numpy().tolist() == counts.row_lengths().numpy().tolist()
    for concept in CONCEPTS:
        share = np.mean(ids.flat_values.numpy() == concept) * len(ids.flat_values) / ROWS
        assert share == pytest.approx(0.7, abs=0.03)
    assert set(counts.flat_values.numpy()) == {2}


def test_false_concepts_come_first_with_their_frequencies():
    ids, counts = _add(_noise(false=0.8))
    added = ids.row_lengths().numpy() - 3
    assert added.mean() == pytest.approx(0.8, abs=0.05)
    assert np.mean(added == 0) == pytest.approx(np.exp(-0.8), abs=0.03)
    assert all(row[-3:] == CONCEPTS for row in ids.to_list())
    false = np.concatenate([row[:-3] for row in ids.to_list()])
    assert np.mean(false == 7) == pytest.approx(0.75, abs=0.03) and set(false) == {5, 7}
    assert all(row[:-3] == [1] * (len(row) - 3) for row in counts.to_list())


def test_equal_keys_draw_equal_noise_and_zero_rates_change_nothing():
    one, other, third = (_add(_noise(0.3, 0.8), key)[0].to_list() for key in (1, 1, 2))
    assert one == other != third
    assert _add(_noise())[0].to_list() == [CONCEPTS] * ROWS


def test_the_rates_are_those_that_the_scores_indicate(corpora_folder, images_folder):
    sentences, pictures = corpora.open_corpora(corpora_folder), images.open_images(images_folder)
    found = estimate_noise(sentences, pictures, 0.5)
    scores, mentions, false = [], [], {}
    for row in images.examples(pictures, "train"):
        scores.append(row["concept_scores"].clip(0, 1).astype(np.float64))
        for concept, score in zip(row["concepts"], scores[-1], strict=True):
            false[int(concept)] = false.get(int(concept), 0) + 1 - score
    for line in tf.data.TFRecordDataset(sentences.shards("train")):
        spec = {"concepts": tf.io.RaggedFeature(tf.int64)}
        mentions.append(len(tf.io.parse_single_example(line, spec)["concepts"]))
    true_concepts = np.mean([own.sum() for own in scores])
    expected = 0.5 * max(0.0, 1 - true_concepts / np.mean(mentions))
    assert found.missed == pytest.approx(expected)
    assert found.false == pytest.approx(0.5 * np.mean([(1 - own).sum() for own in scores]))
    assert dict(zip(found.ids.tolist(), found.probabilities, strict=True)) == pytest.approx(
        {concept: value / sum(false.values()) for concept, value in false.items()}
    )


def test_batches_contain_noisy_and_exact_concepts_and_resume_exactly(corpora_folder):
    records = corpora.open_corpora(corpora_folder)
    settings = {"batch_size": 16, "max_length": 20, "seed": 5, "concepts": Concepts(max_concepts=4)}

    def batches(first_step, **more):
        dataset = corpora.training_batches(records, first_step=first_step, **settings, **more)
        return list(itertools.islice(dataset.as_numpy_iterator(), 6 - first_step))

    noise = _noise(missed=0.5, false=0.5)
    plain, noisy = batches(0), batches(0, noise=noise)
    for before, after in zip(plain, noisy, strict=True):
        for name in ("tokens", "lengths"):
            np.testing.assert_array_equal(before[name], after[name])
        np.testing.assert_array_equal(before["concepts"], after["exact_concepts"])
        np.testing.assert_array_equal(before["concept_lengths"], after["exact_concept_lengths"])
    read = np.concatenate([batch["concepts"].ravel() for batch in noisy])
    assert {5, 7} <= set(read.tolist())
    for expected, found in zip(noisy[3:], batches(3, noise=noise), strict=True):
        for name, value in expected.items():
            np.testing.assert_array_equal(value, found[name])
