"""Reward of generated captions: a weighted sum of CIDEr-D and sentence BLEU-4."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from losses.bleu_reward import sentence_bleu
from losses.cider_reward import CiderReward
from losses.ngram_counts import count_ngrams, join_sentences


class SimilarCaptions(NamedTuple):
    """M captions of images similar to each of B images.

    Attributes:
        tokens: int32[B, M, T].
        lengths: int32[B, M]; 0 if an image has fewer.
        weights: float32[B, M], weights of the mean over an image's captions.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    weights: tf.Tensor


class CaptionReward(NamedTuple):
    """Reward of captions, in the graph.

    Attributes:
        cider: CIDEr-D, 0 to 10.
        cider_weight: factor of CIDEr-D.
        bleu_weight: factor of BLEU-4, 0 to 1.
        similar_share: part of CIDEr-D that is computed with the captions of similar images.
    """

    cider: CiderReward
    cider_weight: float = 1.0
    bleu_weight: float = 0.0
    similar_share: float = 0.0

    def scores(
        self,
        tokens: tf.Tensor,
        lengths: tf.Tensor,
        references: tf.Tensor,
        reference_lengths: tf.Tensor,
        similar: SimilarCaptions | None = None,
    ) -> tf.Tensor:
        """Scores captions without gradient.

        The end marker counts as a word if a sentence has one, because rewards without it favor
        fragments.

        Args:
            tokens: int32[N, T] of captions, N / B consecutive ones per image.
            lengths: int32[N], words that count.
            references: int32[B, R, T'] of B images.
            reference_lengths: int32[B, R]; 0 if an image has fewer references.
            similar: captions of similar images; required with a `similar_share`.

        Returns:
            float32[B, N / B]; 0 without references.
        """
        sentences = join_sentences(tokens, lengths, references, reference_lengths)
        counts = count_ngrams(sentences)
        total = tf.zeros(tf.shape(sentences.lengths[:, : sentences.captions]))
        if self.cider_weight:
            cider = self.cider.scores(sentences, counts)
            if self.similar_share:
                assert similar is not None
                theirs = join_sentences(tokens, lengths, similar.tokens, similar.lengths)
                agreement = self.cider.scores(theirs, count_ngrams(theirs), similar.weights)
                cider += self.similar_share * (agreement - cider)
            total += self.cider_weight * cider
        if self.bleu_weight:
            total += self.bleu_weight * sentence_bleu(sentences, counts)
        return tf.stop_gradient(total)
