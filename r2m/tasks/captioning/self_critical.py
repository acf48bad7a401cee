"""Self-critical training: the captioner's own captions, rewarded by CIDEr-D or BLEU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import tensorflow as tf

from losses import sequence_losses
from losses.caption_reward import CaptionReward, SimilarCaptions
from losses.cider_reward import CiderReward
from losses.reward_losses import REWARD_LOSSES
from models.decoding.sampling import sample_captions
from models.decoding.search import DecodingOptions, decode
from models.layers import ops
from pipelines.caption_batches import MoreTensors
from r2m.engine.stage import LossTerm
from r2m.tasks.captioning.cross_entropy import CrossEntropy, CrossEntropyOptions, Reduction
from tfrecords.core.vocabulary import END_ID, START_ID

Sampling = Literal["draws", "beam"]
Baseline = Literal["leave_one_out", "greedy"]
# Rounding error of rewards, which are at most 10.
_TINY = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfCriticalOptions:
    """Options of self-critical training.

    Attributes:
        samples: number of captions generated per image.
        sampling: `draws` words by their probabilities, or returns the hypotheses of a `beam` search
            of width `samples` (Anderson et al. 2018).
        max_length: largest number of words of a caption, end marker included.
        cider_weight: factor of CIDEr-D in the reward.
        bleu_weight: factor of sentence BLEU-4 in the reward.
        neighbors: number of similar training images whose captions are rewarded, too.
        neighbor_share: share of their captions in CIDEr-D, instead of the image's own.
        loss: `policy` is the policy gradient; `best_of_n` raises log p of an image's best caption;
            the others are those of `losses.sequence_losses`.
        baseline: baseline of the policy gradient: mean reward of the image's other captions, or
            reward of its `greedy` caption.
        reduction: divisor of `policy` and `best_of_n`: the number of `words`, as in
            self-critical.pytorch, or of `captions`. The other losses are means over images.
        cross_entropy_weight: share of the cross entropy of reference captions in the loss.
        entropy_weight: factor of -log p per word, which is added to the reward of a caption.
        dropout: whether to use dropout: in the encoded image with one mask for captions and
            gradient, in words and hidden states only for the gradient.
    """

    samples: int = 5
    sampling: Sampling = "draws"
    max_length: int = 17
    cider_weight: float = 1.0
    bleu_weight: float = 0.0
    neighbors: int = 0
    neighbor_share: float = 0.5
    loss: str = "policy"
    baseline: Baseline = "leave_one_out"
    reduction: Reduction = "captions"
    cross_entropy_weight: float = 0.0
    entropy_weight: float = 0.0
    dropout: bool = False
    compares_rows: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        for name, known in (
            ("sampling", get_args(Sampling)),
            ("loss", REWARD_LOSSES),
            ("baseline", get_args(Baseline)),
            ("reduction", get_args(Reduction)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}"
                )
        for name in ("samples", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.samples < 2 and (self.loss, self.baseline) != ("policy", "greedy"):
            raise ValueError(
                f"samples={self.samples} must be at least 2 with loss={self.loss} and "
                f"baseline={self.baseline}: captions of an image are compared with each other; "
                "draw more, or set baseline=greedy (with loss=policy)"
            )
        if not 0 <= self.cross_entropy_weight < 1:
            raise ValueError(
                f"cross_entropy_weight={self.cross_entropy_weight} must be at least 0 and below 1"
            )
        if self.neighbors < 0:
            raise ValueError(f"neighbors={self.neighbors} must not be negative")
        if not 0 < self.neighbor_share <= 1:
            raise ValueError(
                f"neighbor_share={self.neighbor_share} must be above 0 and at most 1; without "
                "captions of similar images set neighbors=0"
            )
        for name in ("cider_weight", "bleu_weight", "entropy_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if not self.cider_weight + self.bleu_weight:
            raise ValueError("cider_weight and bleu_weight must not both be 0: nothing is rewarded")


class _Generated(NamedTuple):
    """Captions generated for B images: S samples of each, then its greedy caption if required.

    Attributes:
        tokens: int32[B, C, T], 0 after the end marker; C is S or S + 1.
        lengths: int32[B, C], words of each, end marker included.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor


class SelfCritical:
    """Expected reward of generated captions (an `Objective` of `r2m.tasks.captioning.stage`).

    The gradient of the policy loss is that of -sum_i (r_i - b_i) log p(caption i), over the
    captions drawn for an image. The baseline b_i is the reward of its greedy caption (Rennie et al.
    2017) or the mean reward of its other captions (Luo 2020, arXiv 2003.09971). Without dropout the
    gradient is that of the distribution that captions are drawn from. Images are encoded once for
    samples, greedy captions and gradient.
    """

    name = "self_critical"
    needs_references = True
    compares_rows = SelfCriticalOptions.compares_rows

    def __init__(
        self,
        options: SelfCriticalOptions,
        cider: CiderReward,
        suppressed: tuple[int, ...],
        cross_entropy: CrossEntropyOptions | None = None,
        similar: MoreTensors | None = None,
    ) -> None:
        """Stores the arguments.

        Args:
            options: options of the training.
            cider: CIDEr-D, with its document frequencies.
            suppressed: word ids that are never generated.
            cross_entropy: options of the cross entropy that is mixed in.
            similar: captions of similar images, for `options.neighbors`.
        """
        self._options, self._suppressed = options, suppressed
        # The other losses have no baseline.
        self._greedy = options.loss == "policy" and options.baseline == "greedy"
        share = options.neighbor_share if options.neighbors else 0.0
        self._reward = CaptionReward(cider, options.cider_weight, options.bleu_weight, share)
        self.more = similar
        self._cross_entropy = CrossEntropy(cross_entropy or CrossEntropyOptions())

    def draws(self, tokens: tf.Tensor) -> tf.Tensor | None:
        """Returns the shape of one number per word of every drawn caption: int32[3], or None."""
        if self._options.sampling != "draws":
            return None
        return tf.stack([tf.shape(tokens)[0], self._options.samples, self._options.max_length])

    def rates(self, epoch: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns nothing: no scalar depends on the epoch."""
        del epoch
        return {}

    def loss(self, model: Any, batch: Any, training: bool) -> dict[str, LossTerm]:
        """Returns the loss, named as `options.loss`, and for the log:

        - `reward`, `baseline`: means over captions;
        - `advantage`: mean of |reward - baseline|;
        - `reward_spread`: highest minus lowest reward of an image, mean over images;
        - `words`: mean length, end marker included; `ended`: share of captions with an end marker;
        - `entropy`: mean over captions of -log p per word, in nats; of drawn captions, it estimates
          the entropy of the next word.
        """
        options = self._options
        memory = model.encode(batch, training=options.dropout)
        weights, bias = model.output_layer
        suppression = ops.suppression(self._suppressed, bias.shape[0])
        generated = self._generate(model, memory, batch, suppression)
        scored = self._reward.scores(
            tf.reshape(generated.tokens, [-1, options.max_length]),
            tf.reshape(generated.lengths, [-1]),
            batch["references"],
            batch["reference_lengths"],
            _similar_captions(batch) if options.neighbors else None,
        )
        scored = tf.reshape(scored, tf.shape(generated.lengths))
        rewards, greedy_reward = scored[:, : options.samples], scored[:, options.samples :]
        tokens = tf.reshape(generated.tokens[:, : options.samples], [-1, options.max_length])
        sizes = generated.lengths[:, : options.samples]
        lengths = tf.reshape(sizes, [-1])
        fed = tf.concat([tf.fill([tf.shape(tokens)[0], 1], START_ID), tokens[:, :-1]], axis=1)
        hidden = model.teacher_forced(memory, fed, lengths=lengths, training=options.dropout)
        bias = tf.cast(bias, tf.float32) + suppression
        log_p = tf.reshape(
            sequence_losses.caption_log_probabilities(hidden, weights, bias, tokens, lengths),
            tf.shape(sizes),
        )
        words = tf.cast(sizes, tf.float32)
        per_word = tf.math.divide_no_nan(tf.stop_gradient(-log_p), words)
        scores = rewards
        if options.entropy_weight:
            scores += options.entropy_weight * per_word
        baseline = greedy_reward if self._greedy else sequence_losses.leave_one_out(scores)
        baseline = tf.broadcast_to(baseline, tf.shape(scores))
        # Computed without the captions: if a batch is divided into parts, the engine needs the
        # normalizers of all parts first, and must not generate captions twice.
        images = tf.shape(batch["reference_lengths"])[0]
        captions = images * options.samples
        divisor = tf.reduce_sum(words) if options.reduction == "words" else captions
        if options.loss == "policy":
            loss = LossTerm(sequence_losses.policy_loss(log_p, scores - baseline), divisor)
        elif options.loss == "best_of_n":
            loss = LossTerm(
                sequence_losses.policy_loss(log_p, sequence_losses.best_of_n(scores)), divisor
            )
        else:
            losses = sequence_losses.structured_losses(options.loss, log_p, sizes, scores)
            loss = LossTerm(tf.reduce_sum(losses), images)
        share = options.cross_entropy_weight
        terms = {options.loss: loss._replace(weight=1.0 - share)}
        if share:
            mixed = self._cross_entropy.loss(model, batch, training)
            terms |= {
                name: term._replace(weight=share * term.weight) for name, term in mixed.items()
            }
        of_captions = {
            "reward": rewards,
            "baseline": baseline,
            "advantage": tf.abs(scores - baseline),
            "words": words,
            "ended": tf.cast(tf.reduce_any(tokens == END_ID, axis=1), tf.float32),
            "entropy": per_word,
        }
        spread = tf.reduce_max(rewards, axis=1) - tf.reduce_min(rewards, axis=1)
        return {
            **terms,
            **{
                name: LossTerm(tf.reduce_sum(values), captions, weight=0.0)
                for name, values in of_captions.items()
            },
            "reward_spread": LossTerm(tf.reduce_sum(spread), images, weight=0.0),
        }

    def _generate(self, model: Any, memory: Any, batch: Any, suppression: tf.Tensor) -> _Generated:
        """Returns S captions of each image and, for its baseline, the greedy one."""
        options = self._options
        if options.sampling == "beam":
            found = [self._search(model, memory, options.samples)]
            if self._greedy:
                found.append(self._search(model, memory, 1))
            return _Generated(*(tf.concat(parts, axis=1) for parts in zip(*found, strict=True)))
        draws = tf.pad(batch["draws"], [[0, 0], [0, int(self._greedy)], [0, 0]])
        tokens, lengths = sample_captions(
            model,
            memory,
            tf.reshape(draws, [-1, options.max_length]),
            suppression=suppression,
            start_id=START_ID,
            end_id=END_ID,
            greedy_last=self._greedy,
        )
        return _Generated(
            tf.reshape(tokens, tf.shape(draws)), tf.reshape(lengths, tf.shape(draws)[:2])
        )

    def _search(self, model: Any, memory: Any, beam_size: int) -> _Generated:
        """Returns the hypotheses of a beam search; a beam of 1 searches greedily."""
        search = DecodingOptions(
            beam_size=beam_size,
            max_length=self._options.max_length,
            suppressed=self._suppressed,
            start_id=START_ID,
            end_id=END_ID,
        )
        found = decode(model, memory, search)
        return _Generated(tf.stop_gradient(found.tokens), found.lengths)

    def remark(self, metrics: Mapping[str, float]) -> str | None:
        """Returns a warning if no caption had a reward that differs from its baseline."""
        if metrics.get("loss/reward_spread") != 0.0 or metrics["loss/advantage"] > _TINY:
            return None
        equal = "all captions drawn of an image had the same reward: training had no effect. "
        if metrics["loss/reward"] == 0.0:
            return equal + (
                "Their reward is 0, with document frequencies of "
                f"{self._reward.cider.images} training images: with one image all n-grams have "
                "weight 0, with few most have. Train on more images, or longer by cross entropy "
                "first, until captions share words with the references"
            )
        return equal + (
            "The captioner draws the same caption repeatedly: draw more of them "
            "(--config.reward.samples), or start from weights of an earlier step"
        )

    def validation_loss(self, model: Any, batch: Any) -> dict[str, LossTerm]:
        """Returns the cross entropy of the references, which shows how far training drifted."""
        return CrossEntropy(CrossEntropyOptions()).validation_loss(model, batch)


def _similar_captions(batch: Any) -> SimilarCaptions:
    return SimilarCaptions(
        batch["similar_references"], batch["similar_lengths"], batch["similar_weights"]
    )
