"""The step of a captioner as decoding loops call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# (tokens int32[N], state, memory of B images) -> (logits float32[N, V], with static V, and state).
# The N / B rows of an image are consecutive, and rows are independent.
StepFunction = Callable[[tf.Tensor, Any, Any], tuple[tf.Tensor, Any]]
