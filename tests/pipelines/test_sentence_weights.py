"""Weights of sentences by maximum entropy: by hand, by brute force, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.sentence_weights import ConceptSets, fit_weights

TINY = 1e-9
DOG, SNOW = 0, 1


def sets_of(*rows: tuple[list[int], int]) -> ConceptSets:
    """Returns sets with their numbers of sentences."""
    members, counts = zip(*rows, strict=True)
    return ConceptSets(
        members=np.array([m for row in members for m in row], np.int64),
        lengths=np.array([len(row) for row in members], np.int64),
        counts=np.array(counts, np.int64),
    )


def fit(sets, *targets, penalty=TINY, max_weight=20.0):
    return fit_weights(sets, np.array(targets, float), penalty=penalty, max_weight=max_weight)


def random_sets(seed: int, concepts: int = 12, sets: int = 200) -> ConceptSets:
    random = np.random.default_rng(seed)
    rows = [
        (np.flatnonzero(random.random(concepts) < 0.15).tolist(), int(random.integers(1, 9)))
        for _ in range(sets)
    ]
    return sets_of(*rows)


def test_one_concept_by_hand() -> None:
    """1 of 4 sentences has a dog, 2 of 4 images: weights 2 and 2/3 give 2 : 3 * 2/3."""
    assert fit(sets_of(([DOG], 1), ([], 3)), 0.5) == pytest.approx([2, 2 / 3], abs=1e-5)


def test_two_concepts_that_occur_independently_by_hand() -> None:
    """Each factor is the ratio of its odds: dog 3, snow 1/3; 16 sentences, 4 of each set."""
    sets = sets_of(([], 4), ([DOG], 4), ([SNOW], 4), ([DOG, SNOW], 4))
    assert sets.shares(2).tolist() == [0.5, 0.5]
    # The shares 3/4 and 1/4 are independent of each other: weight = 4 * p(dog) * p(snow).
    expected = 4 * np.array([1 / 4 * 3 / 4, 3 / 4 * 3 / 4, 1 / 4 * 1 / 4, 3 / 4 * 1 / 4])
    assert fit(sets, 3 / 4, 1 / 4) == pytest.approx(expected, abs=1e-5)


def test_a_concept_that_always_comes_with_another_one_by_hand() -> None:
    """Snow only occurs with a dog. Dog 0.6, snow 0.3: so a dog alone has 0.3, no dog 0.4."""
    sets = sets_of(([], 5), ([DOG], 4), ([DOG, SNOW], 1))
    expected = [0.4 / 0.5, 0.3 / 0.4, 0.3 / 0.1]
    assert fit(sets, 0.6, 0.3) == pytest.approx(expected, abs=1e-5)


def test_the_bound_is_kept_and_the_others_share_the_rest_by_hand() -> None:
    """1 of 10 with at most 3 times the mean: at most 0.3 of the draws, and 0.7 / 9 for others."""
    found = fit(sets_of(([DOG], 1), ([], 9)), 0.9, max_weight=3)
    assert found == pytest.approx([3, 7 / 9], abs=1e-5)


def test_the_penalty_leaves_a_share_off_its_target_by_the_number_of_the_concept() -> None:
    sets, penalty = sets_of(([DOG], 1), ([], 3)), 0.05
    weights = fit(sets, 0.5, penalty=penalty)
    number = math.log(weights[0] / weights[1])
    assert sets.shares(1, weights)[0] == pytest.approx(0.5 - penalty * number, abs=1e-5)
    assert 1 / 4 < sets.shares(1, weights)[0] < 0.5


def test_a_concept_without_target_does_not_influence_weights() -> None:
    sets = sets_of(([], 2), ([DOG], 1), ([SNOW], 3), ([DOG, SNOW], 2))
    weights = fit(sets, 0.6, np.nan)
    assert weights[[0, 1]] == pytest.approx(weights[[2, 3]])
    assert sets.shares(2, weights)[DOG] == pytest.approx(0.6, abs=1e-6)
    assert fit(sets, np.nan, np.nan).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_shares_that_some_weights_have_are_met(seed: int) -> None:
    sets, random = random_sets(seed), np.random.default_rng(seed + 100)
    wanted = sets.shares(12, np.exp(random.normal(0, 0.7, 200)))
    weights = fit(sets, *wanted)
    assert sets.shares(12, weights) == pytest.approx(wanted, abs=1e-5)
    assert (sets.counts @ weights) / sets.counts.sum() == pytest.approx(1)
    assert (weights > 0).all() and weights.max() <= 20.001


@pytest.mark.parametrize("seed", range(3))
def test_no_other_weights_with_these_shares_are_closer_to_equal_ones(seed: int) -> None:
    """Entropy falls in every direction that changes neither the shares nor the sum."""
    sets, random = random_sets(seed), np.random.default_rng(seed)
    wanted = sets.shares(12, np.exp(random.normal(0, 0.5, 200)))
    weights = fit(sets, *wanted)
    has = np.zeros((13, 200))
    has[0] = 1
    has[sets.members + 1, np.repeat(np.arange(200), sets.lengths)] = 1
    conditions = has * sets.counts
    allowed = np.eye(200) - np.linalg.pinv(conditions) @ conditions

    def entropy(values):
        return -(sets.counts * values * np.log(values)).sum()

    for _ in range(20):
        direction = allowed @ random.normal(size=200)
        direction *= 0.1 * weights.min() / np.abs(direction).max()
        assert entropy(weights + direction) < entropy(weights)


@pytest.mark.parametrize("seed", range(3))
def test_contradicting_targets_end_in_a_compromise(seed: int) -> None:
    sets, random = random_sets(seed), np.random.default_rng(seed)
    wanted = random.random(12)
    weights = fit(sets, *wanted, penalty=1e-3, max_weight=5)
    assert np.isfinite(weights).all() and weights.max() <= 5.001
    before, after = (np.abs(shares - wanted).sum() for shares in (
        sets.shares(12), sets.shares(12, weights)
    ))  # fmt: skip
    assert after < before


def test_more_sentences_with_the_same_shares_have_the_same_weights() -> None:
    few, wanted = random_sets(1), random_sets(2).shares(12)
    many = few._replace(counts=1000 * few.counts)
    assert fit(few, *wanted) == pytest.approx(fit(many, *wanted))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_weight": 1.0}, "max_weight must be above 1, found 1"),
        ({"max_weight": math.nan}, "max_weight must be above 1, found nan"),
        ({"penalty": 0.0}, "penalty must be above 0, found 0"),
    ],
)
def test_impossible_options_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        fit(sets_of(([DOG], 1), ([], 3)), 0.5, **options)
