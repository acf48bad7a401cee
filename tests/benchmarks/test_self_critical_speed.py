"""Shares of a self-critical step of up-down: encode, sample, baseline, reward, backward, update.

    pytest tests/benchmarks/test_self_critical_speed.py -s

10 images of 36 regions, 5 samples of each and a greedy caption, 9,491 words, 512 units. Captions
end after as many words as COCO's. Times are processor time; each part is a program of its own.
"""

from __future__ import annotations

from typing import Any

import captioner_data
import numpy as np
import tensorflow as tf
from captioner_data import CAPTIONS, IMAGES, VOCABULARY
from captioner_ways import Ending, build
from test_reward_speed import milliseconds

from losses.caption_reward import CaptionReward
from losses.cider_reward import CiderReward
from losses.sequence_losses import caption_log_probabilities, policy_loss
from models.decoding.sampling import sample_captions
from models.decoding.search import DecodingOptions, decode
from models.layers import ops
from r2m.engine.optimization.optimizers import make_optimizer
from r2m.engine.options import TrainingOptions
from tfrecords.document_frequencies import count_ngrams

LONGEST, SUPPRESSED = 17, (0, 1)


def test_shares() -> None:
    regions, tokens, lengths = captioner_data.batch(0)
    references = tf.constant(tokens[:, 1:].reshape(IMAGES, CAPTIONS, -1), tf.int32)
    counts = tf.constant(lengths.reshape(IMAGES, CAPTIONS), tf.int32)
    shown = {
        "regions": tf.constant(regions),
        "words": tf.constant(np.clip(lengths[::CAPTIONS] - 1, 1, LONGEST - 1), tf.int32),
    }
    captioner = build("updown")
    model, variables = Ending(captioner), captioner.trainable_variables
    counted = count_ngrams(
        (
            (np.concatenate([row[1 : n + 1] for row, n in zip(*own, strict=True)]), own[1])
            for own in zip(np.split(tokens, IMAGES), np.split(lengths, IMAGES), strict=True)
        ),
        vocabulary_sha256="a",
    )
    reward = CaptionReward(CiderReward(counted.keys, counted.counts, counted.images))
    optimizer = make_optimizer(TrainingOptions(steps=1, clip_value=0.1), variables)
    draws = tf.random.stateless_uniform([IMAGES * CAPTIONS, LONGEST], [1, 2])
    suppression = ops.suppression(SUPPRESSED, VOCABULARY)
    greedy = DecodingOptions(beam_size=1, max_length=LONGEST, suppressed=SUPPRESSED)

    @tf.function(autograph=False)
    def encode() -> Any:
        return model.encode(shown)

    @tf.function(autograph=False)
    def sample(memory: Any) -> Any:
        return sample_captions(model, memory, draws, suppression=suppression, start_id=1, end_id=2)

    @tf.function(autograph=False)
    def baseline(memory: Any) -> Any:
        found = decode(model, memory, greedy)
        return found.tokens[:, 0], found.lengths[:, 0]

    @tf.function(autograph=False)
    def rewards(drawn: Any, likely: Any) -> tf.Tensor:
        ours = reward.scores(*drawn, references, counts)
        return ours - reward.scores(*likely, references, counts)

    @tf.function(autograph=False)
    def backward(drawn: Any, advantages: tf.Tensor) -> Any:
        words, sizes = drawn
        with tf.GradientTape() as tape:
            memory = captioner.encode({"regions": shown["regions"]})
            fed = tf.concat([tf.fill([tf.shape(words)[0], 1], 1), words[:, :-1]], axis=1)
            hidden = captioner.teacher_forced(memory, fed, lengths=sizes)
            weights, bias = captioner.output_layer
            log_p = caption_log_probabilities(hidden, weights, bias + suppression, words, sizes)
            loss = policy_loss(tf.reshape(log_p, [IMAGES, CAPTIONS]), advantages)
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]

    @tf.function(autograph=False)
    def update(gradients: Any) -> None:
        optimizer.apply(gradients)

    memory = encode()
    drawn, likely = sample(memory), baseline(memory)
    advantages = rewards(drawn, likely)
    gradients = backward(drawn, advantages)
    encoding = milliseconds(encode, 5)
    times = {
        "encode": encoding,
        "sample": milliseconds(lambda: sample(memory), 5),
        "baseline": milliseconds(lambda: baseline(memory), 5),
        "reward": milliseconds(lambda: rewards(drawn, likely), 20),
        # Its forward pass has the encoder in it, which is counted above.
        "backward": milliseconds(lambda: backward(drawn, advantages), 5) - encoding,
        "update": milliseconds(lambda: update(gradients), 5),
    }
    whole = sum(times.values())
    print(f"\none step, {float(tf.reduce_mean(drawn[1])):.1f} words per caption: {whole:.0f} ms")
    for name, own in times.items():
        print(f"{name:<10}{own:>9.1f} ms{own / whole:>8.1%}")
    assert times["reward"] < 0.02 * whole
