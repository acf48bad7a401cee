"""Prints the memory and time of one X-linear layer of the published size, as one line of JSON.

    python tests/benchmarks/xlinear_memory.py ours|published [CAPTIONS_PER_IMAGE]

`peak_gib` is how much the peak memory of the process exceeds that before the forward and backward
pass of 75 captions of 17 words over 100 regions. `published` forms all products of a pair, and a
value map per pair.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import tensorflow as tf

from models.layers import grouped_rows
from models.layers.xlinear import XLinearAttention
from tests.models.layers.published_xlinear import published

CAPTIONS, WORDS, REGIONS, UNITS = 75, 17, 100, 512


def memory(field: str) -> float:
    """Returns `VmRSS` of this process, or its peak `VmHWM`, in GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**20


def ours(layer: XLinearAttention, words: tf.Tensor, regions: tf.Tensor) -> Any:
    """Returns outputs and weights of words [N, T, D] and regions [B, L, D]."""
    images, places, _ = tf.unstack(tf.shape(regions))
    regions, words = (tf.reshape(x, [-1, UNITS]) for x in (regions, words))
    projected = layer.project(regions, grouped_rows.full(images, places))
    groups = grouped_rows.full(images, tf.shape(words)[0] // images)
    return layer(words, groups, projected, training=True)


def main() -> None:
    """Measures the second call: the first one traces, with fewer words and regions."""
    form, captions_per_image = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    layer = XLinearAttention(
        units=UNITS, hidden_units=UNITS // 2, dropout=0.1 if form == "ours" else 0.0
    )
    layer.build((None, UNITS))
    variables = [v.value for v in layer.trainable_variables]
    floats = tf.TensorSpec([None, None, UNITS])

    @tf.function(input_signature=[floats, floats], autograph=False)
    def run(queries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch((queries, rows))
            if form == "ours":
                outputs, _ = ours(layer, queries, rows)
            else:
                outputs, _ = published(layer, queries, rows, None)
            loss = tf.reduce_sum(outputs**2)
        gradients = tape.gradient(loss, [queries, rows, *variables])
        return tf.add_n([tf.reduce_sum(x) for x in gradients])

    queries = tf.random.normal([CAPTIONS, WORDS, UNITS])
    rows = tf.random.normal([CAPTIONS // captions_per_image, REGIONS, UNITS])
    run(queries[:captions_per_image, :2], rows[:1, :2])
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = memory("VmRSS"), time.perf_counter()
    run(queries, rows).numpy()
    report = {
        "form": form,
        "peak_gib": round(memory("VmHWM") - before, 3),
        "seconds": round(time.perf_counter() - start, 2),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
