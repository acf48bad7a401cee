"""Weights of the members of an ensemble."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import tensorflow as tf

from models.decoding.ensemble import Ensemble
from tests.models.small_captioners import build


def test_probabilities_are_averaged_by_weight() -> None:
    (first, inputs), (second, others) = build("fc"), build("updown")
    names = [list(inputs), list(others)]
    ensemble = Ensemble(members=[first, second], member_inputs=names, weights=[3, 1])
    memory = ensemble.encode({**inputs, **others})
    hidden, _ = ensemble.step(tf.constant([3, 4, 5]), ensemble.initial_state(memory, 2), memory)
    each = [tf.nn.softmax(m.logits(own)) for m, own in zip(ensemble.members, hidden, strict=True)]
    np.testing.assert_allclose(
        tf.exp(ensemble.logits(hidden)), 0.75 * each[0] + 0.25 * each[1], atol=1e-6
    )
    again = Ensemble.from_config(ensemble.get_config())
    assert again.get_config()["weights"] == [3.0, 1.0]
    equal = Ensemble(members=[first, second], member_inputs=names)
    np.testing.assert_allclose(tf.exp(equal.logits(hidden)), (each[0] + each[1]) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "found 1 weights for 2 members: give one per member"),
        ([1.0, 0.0], "the weight of a member must be a number above 0, found 0.0"),
        ([math.nan, 1.0], "weight of a member must be a number above 0, found nan"),
        ([1.0, math.inf], "weight of a member must be a number above 0, found inf"),
    ],
)
def test_weights_that_do_not_fit(weights: list[float], message: str) -> None:
    (first, inputs), (second, others) = build("fc"), build("updown")
    with pytest.raises(ValueError, match=re.escape(message)):
        Ensemble(
            members=[first, second], member_inputs=[list(inputs), list(others)], weights=weights
        )
