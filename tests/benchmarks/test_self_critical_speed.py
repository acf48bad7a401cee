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
from models.layers import ops
from r2m.engine.optimization.optimizers import make_optimizer
from r2m.engine.options import TrainingOptions
from tfrecords.language.document_frequencies import count_ngrams

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
    draws = tf.random.stateless_uniform([IMAGES, CAPTIONS + 1, LONGEST], [1, 2])
    suppression = ops.suppression(SUPPRESSED, VOCABULARY)

    @tf.function(autograph=False)
    def encode() -> Any:
        return model.encode(shown)

    def captions(memory: Any, drawn: tf.Tensor, greedy_last: bool) -> Any:
        return sample_captions(
            model,
            memory,
            tf.reshape(drawn, [-1, LONGEST]),
            suppression=suppression,
            start_id=1,
            end_id=2,
            greedy_last=greedy_last,
        )

    @tf.function(autograph=False)
    def sample(memory: Any) -> Any:
        return captions(memory, draws[:, :CAPTIONS], greedy_last=False)

    @tf.function(autograph=False)
    def sample_with_baseline(memory: Any) -> Any:
        return captions(memory, draws, greedy_last=True)

    @tf.function(autograph=False)
    def rewards(words: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
        scored = reward.scores(words, sizes, references, counts)
        return scored[:, :CAPTIONS] - scored[:, CAPTIONS:]

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
    drawn, scored = sample(memory), sample_with_baseline(memory)
    advantages = rewards(*scored)
    gradients = backward(drawn, advantages)
    encoding, sampling = milliseconds(encode, 5), milliseconds(lambda: sample(memory), 5)
    times = {
        "encode": encoding,
        "sample": sampling,
        # In the loop of the samples.
        "baseline": milliseconds(lambda: sample_with_baseline(memory), 5) - sampling,
        "reward": milliseconds(lambda: rewards(*scored), 20),
        # Its forward pass has the encoder in it, which is counted above.
        "backward": milliseconds(lambda: backward(drawn, advantages), 5) - encoding,
        "update": milliseconds(lambda: update(gradients), 5),
    }
    whole = sum(times.values())
    print(f"\none step, {float(tf.reduce_mean(drawn[1])):.1f} words per caption: {whole:.0f} ms")
    for name, own in times.items():
        print(f"{name:<10}{own:>9.1f} ms{own / whole:>8.1%}")
    assert times["reward"] < 0.02 * whole
