"""Losses of generated captions: policy gradient and structured prediction.

Letters: B images, S captions of each, N = B * S captions, T words.

Structured losses (Edunov et al. 2018, arXiv 1711.04956) compare the captions of an image. With the
reward r_i of caption i, its cost c_i = -r_i, its mean log probability per word s_i, its log
probability log p_i and the index * of the highest reward:

| loss | per image |
|---|---|
| seqnll | -log softmax(s)_* |
| risk | sum_i softmax(log p)_i c_i, c scaled to 0..1 |
| max_margin | max_i max(0, c_i - c_* - s_* + s_i) / 2 |
| multi_margin | mean_i max(0, c_i - c_* - s_* + s_i) |
| softmax_margin | -log softmax(s + c)_*, c scaled to 0..1 |
| real_softmax_margin | -log softmax(s + c)_* |

self-critical.pytorch has the same losses with two differences: its risk applies a softmax to p
instead of log p, and its margins compare unnormalized logits by default.
"""

from __future__ import annotations

import tensorflow as tf

from losses import text
from losses.reward_losses import STRUCTURED_LOSSES


def caption_log_probabilities(
    hidden: tf.Tensor, weights: tf.Tensor, bias: tf.Tensor, tokens: tf.Tensor, lengths: tf.Tensor
) -> tf.Tensor:
    """Computes log p of captions, end marker included.

    The softmax must be the one that the captions were drawn from. Otherwise probability would move
    from bad captions to words that are never drawn and never penalized, and the likelihood of all
    other words would fall to 0.

    Args:
        hidden: float[N, T, H].
        weights: float[V, H] of the softmax.
        bias: float[V], with the suppression of words that were not to be drawn.
        tokens: int32[N, T], the captions.
        lengths: int32[N], words per caption.

    Returns:
        float32[N], in nats; 0 for a caption without words.
    """
    positions = text.real_positions(lengths, tf.shape(tokens)[1])
    losses = text.word_losses(
        tf.gather_nd(hidden, positions), weights, bias, tf.gather_nd(tokens, positions)
    )
    return -tf.math.unsorted_segment_sum(losses, positions[:, 0], tf.shape(tokens)[0])


def leave_one_out(rewards: tf.Tensor) -> tf.Tensor:
    """Returns the mean of an image's other rewards for each reward (Luo 2020, arXiv 2003.09971).

    Args:
        rewards: float32[B, S], S at least 2.

    Returns:
        float32[B, S].
    """
    others = tf.cast(tf.shape(rewards)[1], tf.float32) - 1.0
    return (tf.reduce_sum(rewards, axis=1, keepdims=True) - rewards) / others


def policy_loss(log_p: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
    """Computes -sum_i a_i log p(caption i) (Rennie et al. 2017, equation 7).

    Args:
        log_p: float32[B, S], from `caption_log_probabilities`.
        advantages: a float32[B, S]; no gradient goes through them.

    Returns:
        The sum float32[].
    """
    return -tf.reduce_sum(log_p * tf.stop_gradient(advantages))


def best_of_n(rewards: tf.Tensor) -> tf.Tensor:
    """Returns 1 for the captions with the highest reward of their image, else 0: float32[B, S]."""
    return tf.cast(rewards == tf.reduce_max(rewards, axis=1, keepdims=True), tf.float32)


def structured_losses(
    name: str, log_p: tf.Tensor, lengths: tf.Tensor, rewards: tf.Tensor
) -> tf.Tensor:
    """Computes one of the losses in the table above.

    Args:
        name: one of `STRUCTURED_LOSSES`.
        log_p: float32[B, S], from `caption_log_probabilities`.
        lengths: int32[B, S], words per caption.
        rewards: float32[B, S]; no gradient goes through them.

    Returns:
        float32[B].

    Raises:
        ValueError: the name is unknown.
    """
    scores = tf.math.divide_no_nan(log_p, tf.cast(lengths, tf.float32))
    rewards = tf.stop_gradient(rewards)
    # 0 for the best caption.
    costs = tf.reduce_max(rewards, axis=1, keepdims=True) - rewards
    scaled = tf.math.divide_no_nan(costs, tf.reduce_max(costs, axis=1, keepdims=True))
    best = tf.argmax(rewards, axis=1)
    if name == "seqnll":
        return _cross_entropy(scores, best)
    if name == "risk":
        return tf.reduce_sum(tf.nn.softmax(log_p) * scaled, axis=1)
    if name == "softmax_margin":
        return _cross_entropy(scores + scaled, best)
    if name == "real_softmax_margin":
        return _cross_entropy(scores + costs, best)
    margins = tf.nn.relu(costs - tf.gather(scores, best, batch_dims=1)[:, None] + scores)
    if name == "max_margin":
        return tf.reduce_max(margins, axis=1) / 2.0
    if name == "multi_margin":
        return tf.reduce_mean(margins, axis=1)
    raise ValueError(f"unknown loss {name!r}; known: {', '.join(STRUCTURED_LOSSES)}")


def _cross_entropy(logits: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=logits)
