"""Sinusoidal position encodings of transformers, for words and cells of a grid."""

from __future__ import annotations

import math

import tensorflow as tf


def sinusoid(positions: tf.Tensor, units: int, *, cosine_first: bool = False) -> tf.Tensor:
    """Returns alternating sines and cosines of positions: [...] -> float32[..., units].

    Wavelengths increase from 2 pi to 10,000 * 2 pi. Source: Vaswani et al. 2017, section 3.5.

    Args:
        positions: numbers of any dtype.
        units: number of columns.
        cosine_first: whether even columns are cosines and odd columns sines, instead of the
            reverse.
    """
    columns = range(units)
    frequencies = [10_000.0 ** (-(column - column % 2) / units) for column in columns]
    phases = [(column + cosine_first) % 2 * math.pi / 2 for column in columns]
    return tf.sin(tf.cast(positions, tf.float32)[..., None] * frequencies + phases)
