"""Stage 1 training step at the published size: ours against a transcription of upstream's graph.

    pytest tests/benchmarks/test_training_step_speed.py -s

Upstream sends every padded position through cell and softmax, one Python-unrolled step at a time.
Ours is also timed in mixed bfloat16, which upstream's TensorFlow 1 did not have.
"""

from __future__ import annotations

import time

import keras
import numpy as np
import tensorflow as tf

from losses import text
from models.r2m import R2M
from r2m.configuration.settings import precision
from r2m.engine.optimization.optimizers import Adam

VOCABULARY, UNITS, BATCH, PADDED = 18_680, 512, 256, 30
WINDOW, BATCHES, TURNS = 64, 8, 3


def _sentences(
    number: int, bucketed: bool, batch: int = BATCH, vocabulary: int = VOCABULARY
) -> dict[str, tf.Tensor]:
    """Batch `number` of captions whose lengths are distributed as real ones are: mean 12."""
    random = np.random.RandomState(number)
    count = batch * WINDOW if bucketed else batch
    lengths = np.clip(random.gamma(9.0, 12 / 9.0, count).round(), 8, PADDED).astype(np.int32)
    if bucketed:
        # Buckets contain sentences of similar length: a batch is a slice of a sorted window. The
        # slices are evenly spaced, so that a few batches have the mean length of an epoch.
        start = (2 * number + 1) * WINDOW // (2 * BATCHES) * batch
        lengths = np.sort(lengths)[start : start + batch]
    width = int(lengths.max()) if bucketed else PADDED
    words = 3 + random.zipf(1.3, (batch, width + 1)) % (vocabulary - 3)
    words *= np.arange(width + 1) <= lengths[:, None]
    return {
        "concepts": tf.constant(random.randint(3, vocabulary, (batch, 4)), tf.int32),
        "concept_lengths": tf.constant(random.randint(1, 5, batch), tf.int32),
        "tokens": tf.constant(words, tf.int32),
        "lengths": tf.constant(lengths),
    }


def _optimizer(model):
    # Our Adam on both sides: TensorFlow 1's Adam was one operation per variable, too.
    optimizer = Adam(1e-4, epsilon=1e-8)
    optimizer.build(model.trainable_variables)
    return optimizer


def _apply(optimizer, model, tape, loss):
    gradients = tape.gradient(loss, model.trainable_variables)
    pairs = [
        (tf.convert_to_tensor(g), v)
        for g, v in zip(gradients, model.trainable_variables, strict=True)
        if g is not None
    ]
    gradients, _ = tf.clip_by_global_norm([g for g, _ in pairs], 5.0)
    optimizer.apply_gradients(zip(gradients, [v for _, v in pairs], strict=True))


def our_step(model, optimizer):
    @tf.function(reduce_retracing=True)
    def step(batch):
        with tf.GradientTape() as tape:
            memory = model.encode(batch, training=True)
            hidden = model.teacher_forced(memory, batch["tokens"][:, :-1], training=True)
            total, count = text.cross_entropy(
                hidden, *model.output_layer, batch["tokens"][:, 1:], batch["lengths"]
            )
            loss = total / count
        _apply(optimizer, model, tape, loss)
        return loss

    return step


def upstream_step(model, optimizer):
    """Returns a step on the same weights, in upstream's order of computation."""
    heads, units = 2, model.units
    size = units // heads

    def attention(rows, qkv_map, qkv_norm):
        qkv = tf.reshape(qkv_norm(qkv_map(rows)), [-1, 2, heads, 3 * size])
        query, key, value = tf.split(tf.transpose(qkv, [0, 2, 1, 3]), 3, axis=-1)
        weights = tf.nn.softmax(tf.matmul(query * size**-0.5, key, transpose_b=True))
        return tf.reshape(tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3]), [-1, 2, units])

    def memory_step(memory, inputs):
        cell = model.decoder
        row = cell.input_map(inputs)
        rows = tf.stack([memory, row], 1)
        rows = cell.attention_norm(rows + attention(rows, cell.qkv_map, cell.qkv_norm))
        rows = cell.mlp_norm(rows + cell.mlp_output(tf.nn.relu(cell.mlp_hidden(rows))))
        gates = cell.input_gates(row) + cell.memory_gates(tf.tanh(memory))
        input_gate, forget_gate = tf.split(gates, 2, axis=-1)
        return tf.sigmoid(input_gate) * tf.tanh(rows[:, 0]) + tf.sigmoid(forget_gate + 1) * memory

    @tf.function
    def step(batch):
        with tf.GradientTape() as tape:
            vector = model.encode(batch, training=True)["vector"]
            memory, losses = tf.zeros_like(vector), []
            weights, bias = model.output_layer
            for t in range(PADDED):
                word = model.embedding(batch["tokens"][:, t])
                pair = tf.stack([word, vector], 1)
                fused = attention(pair, model.fusion.qkv_map, model.fusion.qkv_norm)
                memory = memory_step(memory, tf.reshape(fused, [-1, 2 * units]))
                logits = tf.matmul(memory, weights, transpose_b=True) + bias
                losses.append(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(
                        batch["tokens"][:, t + 1], logits
                    )
                )
            mask = tf.sequence_mask(batch["lengths"], PADDED, dtype=tf.float32)
            loss = tf.reduce_sum(tf.stack(losses, 1) * mask) / tf.reduce_sum(mask)
        _apply(optimizer, model, tape, loss)
        return loss

    return step


def test_training_step():
    """Alternates between both implementations, so that other load slows both equally."""
    steps, seconds = {}, {}
    for way, make, dtype in (
        ("ours", our_step, "float32"),
        ("ours in mixed bfloat16", our_step, "mixed_bfloat16"),
        ("upstream", upstream_step, "float32"),
    ):
        keras.utils.set_random_seed(0)
        with precision(dtype):
            model = R2M(vocabulary_size=VOCABULARY, units=UNITS)
            batches = [_sentences(number, way != "upstream") for number in range(BATCHES)]
            steps[way], seconds[way] = (make(model, _optimizer(model)), batches), []
    for turn in range(1 + TURNS):
        for number in range(BATCHES):
            for way, (step, batches) in steps.items():
                started = time.perf_counter()
                assert np.isfinite(float(step(batches[number])))
                if turn:  # the first is for compilation
                    seconds[way].append(time.perf_counter() - started)
    theirs = seconds["upstream"]
    for way, found in seconds.items():
        mean, median = np.mean(found), np.median(found)
        print(
            f"\n{way}: mean {mean:.3f} s, median {median:.3f} s, {BATCH / mean:.1f} sentences/s; "
            f"upstream takes {np.mean(theirs) / mean:.2f} times the mean, "
            f"{np.median(theirs) / median:.2f} times the median"
        )


def test_both_ways_compute_the_same_loss():
    keras.utils.set_random_seed(0)
    model = R2M(vocabulary_size=50, units=16, dropout=0.0)
    batch = _sentences(0, False, batch=4, vocabulary=50)
    losses = [
        float(make(model, keras.optimizers.SGD(0.0))(batch)) for make in (our_step, upstream_step)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
