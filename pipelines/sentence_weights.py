"""Weights of sentences by maximum entropy, so that their concepts have given frequencies.

Of all weights with which each concept has its target share, these are the ones closest to equal
weights (Jaynes 1957); in survey statistics the method is called raking, here with an upper bound on
the weights (Deville and Sarndal 1992). A sentence's weight is the exponential of a sum of one
number per concept, so that sentences with the same concepts have the same weight.

Letters: S distinct sets of concepts, C concepts, M memberships of concepts in sets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_MAX_STEPS = 200
# Maximum distance of a share from its optimum. Newton's method is usually done after ten steps.
_TOLERANCE = 1e-9
_MAX_HALVINGS = 40
# Keeps the system of a Newton step solvable if the weights of all sentences are at their bound.
_RIDGE = 1e-12
# Factors are rounded, so that computers whose exponential functions differ in the last bit find
# the same weights.
_DECIMALS = 6


class ConceptSets(NamedTuple):
    """Distinct sets of concepts, with their numbers of sentences.

    Attributes:
        members: int64[M], concepts of the first set, then those of the second, ...
        lengths: int64[S], number of concepts of each set; 0 is possible.
        counts: int64[S], number of sentences with exactly this set.
    """

    members: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray

    def shares(self, size: int, weights: np.ndarray | None = None) -> np.ndarray:
        """Returns the share of the sentences that have each concept: float64[C].

        Args:
            size: number of concepts, C.
            weights: float64[S], weight of a sentence of each set; None for equal weights.
        """
        each = self.counts if weights is None else self.counts * weights
        return np.bincount(self.members, np.repeat(each, self.lengths), size) / each.sum()


def fit_weights(
    sets: ConceptSets, targets: np.ndarray, *, penalty: float, max_weight: float
) -> np.ndarray:
    """Returns the weights of sentences with which concepts have their target shares.

    Minimizes the dual function by Newton's method. If the targets contradict each other or the
    bound, the shares are a compromise.

    Args:
        sets: the sets of concepts of all sentences.
        targets: float64[C], target share of each concept; NaN for a concept without target, which
            does not influence weights.
        penalty: factor of half the sum of squares of the concepts' numbers. A share misses its
            target by this factor times the number of the concept, and numbers remain finite.
        max_weight: upper bound of a weight, above 1.

    Returns:
        float64[S], weight of a sentence of each set; their mean over all sentences is 1.

    Raises:
        ValueError: the bound is not above 1, or the penalty is not positive.
    """
    if not max_weight > 1:
        raise ValueError(f"max_weight must be above 1, found {max_weight:g}")
    if not penalty > 0:
        raise ValueError(f"penalty must be above 0, found {penalty:g}")
    problem = _Problem(sets, targets, penalty, max_weight)
    factors = np.zeros(len(problem.targets))
    value, gradient = problem.value(factors)
    for _ in range(_MAX_STEPS):
        if np.abs(gradient).max() < _TOLERANCE:
            break
        step = np.linalg.solve(problem.hessian(factors), -gradient)
        size, slope = 1.0, float(gradient @ step)
        for _ in range(_MAX_HALVINGS):
            new, new_gradient = problem.value(factors + size * step)
            if new <= value + 1e-4 * size * slope:
                break
            size /= 2
        else:
            break  # differences are below the precision of numbers
        factors, value, gradient = factors + size * step, new, new_gradient
    found = np.minimum(np.exp(problem.exponents(factors.round(_DECIMALS))), max_weight)
    scaled: np.ndarray = found * (sets.counts.sum() / (sets.counts @ found))
    return scaled


class _Problem:
    """The dual function of the weights; the first factor is that of all sentences."""

    def __init__(
        self, sets: ConceptSets, targets: np.ndarray, penalty: float, max_weight: float
    ) -> None:
        has_target = ~np.isnan(targets)
        kept = has_target[sets.members]
        sets_of_members = np.repeat(np.arange(len(sets.counts)), sets.lengths)[kept]
        lengths = np.bincount(sets_of_members, minlength=len(sets.counts)) + 1
        ends = np.cumsum(lengths)
        numbers = np.cumsum(has_target)  # 1.. for concepts with target; 0 is in every set
        # Each set begins with the factor of all sentences.
        self._members = np.zeros(ends[-1], np.int64)
        is_concept = np.ones(ends[-1], bool)
        is_concept[ends - lengths] = False
        self._members[is_concept] = numbers[sets.members[kept]]
        self._owners = np.repeat(np.arange(len(lengths)), lengths)
        self.targets = np.concatenate([[1.0], targets[has_target]])
        self._penalties = np.full(len(self.targets), penalty)
        self._penalties[0] = 0
        self._shares = sets.counts / sets.counts.sum()
        self._max_weight, self._most = max_weight, np.log(max_weight)
        # All pairs of members of the same set.
        repeats = lengths[self._owners]
        places = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        second = np.repeat((ends - lengths)[self._owners], repeats) + places
        first = np.repeat(np.arange(len(repeats)), repeats)
        self._pair_owners = self._owners[first]
        self._pairs = self._members[first] * len(self.targets) + self._members[second]

    def exponents(self, factors: np.ndarray) -> np.ndarray:
        """Returns the sum of the factors of each set, at most the logarithm of the bound."""
        found = np.bincount(self._owners, factors[self._members], len(self._shares))
        return np.minimum(found, self._most)

    def value(self, factors: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns the dual function and its gradient."""
        sums = np.bincount(self._owners, factors[self._members], len(self._shares))
        weights = np.exp(np.minimum(sums, self._most))
        # Linear above the bound, where the derivative, the weight, is constant.
        potentials = weights + self._max_weight * np.maximum(sums - self._most, 0)
        penalties = self._penalties * factors
        value = self._shares @ potentials - factors @ self.targets + factors @ penalties / 2
        each = (self._shares * weights)[self._owners]
        shares = np.bincount(self._members, each, len(factors))
        return float(value), shares - self.targets + penalties

    def hessian(self, factors: np.ndarray) -> np.ndarray:
        """Returns the matrix of second derivatives: those of the capped weights are 0."""
        sums = np.bincount(self._owners, factors[self._members], len(self._shares))
        curvatures = np.where(sums < self._most, np.exp(np.minimum(sums, self._most)), 0)
        each = (self._shares * curvatures)[self._pair_owners]
        size = len(factors)
        matrix: np.ndarray = np.bincount(self._pairs, each, size * size).reshape(size, size)
        return matrix + np.diag(self._penalties + _RIDGE)
