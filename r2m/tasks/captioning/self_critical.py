"""Self-critical training: the captioner's own captions, rewarded by CIDEr-D."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf

from losses.caption_losses import leave_one_out, policy_loss
from losses.cider_d import CiderD
from models.decoding.sampling import sample_captions
from models.layers import ops
from r2m.engine.stage import LossTerm
from r2m.tasks.captioning.cross_entropy import CrossEntropy, CrossEntropyOptions
from tfrecords.vocabulary import END_ID, START_ID


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfCriticalOptions:
    """Options of the reward.

    Attributes:
        samples: captions drawn per image; each is compared with the mean of the others.
        max_length: largest number of words of a caption, end marker included.
    """

    samples: int = 5
    max_length: int = 17
    compares_rows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        if self.samples < 2:
            raise ValueError(f"samples={self.samples} must be at least 2: they are compared")
        if self.max_length < 1:
            raise ValueError(f"max_length={self.max_length} must be at least 1")


class SelfCritical:
    """Expected CIDEr-D of a drawn caption (an `Objective` of `r2m.tasks.captioning.stage`).

    The gradient is that of -sum_i (r_i - mean of the other r_j) log p(caption i), over the captions
    drawn for an image (Rennie et al. 2017, with the leave-one-out baseline of Luo 2020, arXiv
    2003.09971). There is no dropout: the gradient is of the distribution that captions are drawn
    from.
    """

    name = "self_critical"
    needs_references = True
    compares_rows = SelfCriticalOptions.compares_rows

    def __init__(
        self, options: SelfCriticalOptions, reward: CiderD, suppressed: tuple[int, ...]
    ) -> None:
        """Stores the arguments; `suppressed` contains the ids that are never drawn."""
        self._options, self._reward, self._suppressed = options, reward, suppressed

    def draws(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns the shape of one number per word of every drawn caption: int32[3]."""
        return tf.stack([tf.shape(tokens)[0], self._options.samples, self._options.max_length])

    def rates(self, epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns nothing: no scalar depends on the epoch."""
        del epoch
        return {}

    def loss(self, model: Any, batch: Any, training: bool) -> dict[str, LossTerm]:
        """Returns `policy` and, for the log, `reward`, `words` and `reward_spread`.

        The first three are means over drawn captions. `reward_spread` is the difference between
        the highest and the lowest reward of an image, averaged over images.
        """
        del training
        memory = model.encode(batch)
        weights, bias = model.output_layer
        suppression = ops.suppression(self._suppressed, bias.shape[0])
        draws = tf.reshape(batch["draws"], [-1, self._options.max_length])
        tokens, lengths = sample_captions(
            model,
            memory,
            draws,
            suppression=suppression,
            start_id=START_ID,
            end_id=END_ID,
        )
        rewards = tf.numpy_function(
            self._reward.scores,
            [tokens, lengths, batch["references"], batch["reference_lengths"]],
            tf.float32,
            stateful=False,
        )
        rewards = tf.reshape(rewards, [-1, self._options.samples])
        fed = tf.concat([tf.fill([tf.shape(tokens)[0], 1], START_ID), tokens[:, :-1]], axis=1)
        hidden = model.teacher_forced(memory, fed, lengths=lengths)
        spread = tf.reduce_max(rewards, axis=1) - tf.reduce_min(rewards, axis=1)
        advantages = tf.reshape(leave_one_out(rewards), [-1])
        bias = tf.cast(bias, tf.float32) + suppression
        total = policy_loss(hidden, weights, bias, tokens, lengths, advantages)
        captions = tf.shape(draws)[0]
        words = tf.cast(tf.reduce_sum(lengths), tf.float32)
        return {
            "policy": LossTerm(total, captions),
            "reward": LossTerm(tf.reduce_sum(rewards), captions, weight=0.0),
            "words": LossTerm(words, captions, weight=0.0),
            "reward_spread": LossTerm(tf.reduce_sum(spread), tf.size(spread), weight=0.0),
        }

    def remark(self, metrics: Mapping[str, float]) -> str | None:
        """Returns a warning if all captions of an image had the same reward."""
        if metrics.get("loss/reward_spread") != 0.0:
            return None
        equal = "all captions drawn of an image had the same reward: nothing was learnt from them. "
        if metrics["loss/reward"] == 0.0:
            return equal + (
                f"Their CIDEr-D is 0, with document frequencies of {self._reward.images} training "
                "images: of one image all n-grams weigh nothing, of few most do. Train on more "
                "images, or longer by cross entropy first, until captions share words with the "
                "references"
            )
        return equal + (
            "The captioner draws the same caption again and again: draw more of them "
            "(--config.reward.samples), or start from weights of an earlier step"
        )

    def validation_loss(self, model: Any, batch: Any) -> dict[str, LossTerm]:
        """Returns the cross entropy of the references, which shows how far training drifted."""
        return CrossEntropy(CrossEntropyOptions()).validation_loss(model, batch)
