"""Scores of several captions per image: quality of the best one, and diversity.

- Div-n (Aneja et al. 2019, Deshpande et al. 2019): distinct n-grams of the captions of an image,
  divided by their words.
- mBLEU-4: BLEU-4 of each caption against the other captions of its image; lower is more diverse.
- self-CIDEr (Wang and Chan 2019): spread of the captions of an image in the space of n-grams,
  0 for equal captions and 1 for captions without a common word.
- Oracle scores: scores of the best caption of each image, by the metric itself. Mean scores: scores
  of all captions. BLEU is that of single captions, because no corpus of best captions is formed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu

from r2m.evaluation import tokenizers
from r2m.evaluation.caption_scores import check_same_images, score_captions
from r2m.evaluation.cider import Cider
from r2m.evaluation.metrics import METRICS
from tfrecords.core.errors import InputError

DIVERSITY = ("div_1", "div_2", "mbleu_4", "self_cider")
"""Names of the measures of diversity, in the order of reports."""


@dataclass(frozen=True, kw_only=True)
class CaptionSetScores:
    """Scores of several captions per image.

    Attributes:
        most: largest number of captions of an image.
        captions: number of captions of all images together.
        compared: number of images with at least two captions, over which diversity is averaged.
        diversity: values of the measures in `DIVERSITY`.
        oracle: metric -> mean score of the best caption of each image.
        mean: metric -> mean over the images of the mean score of their captions.
    """

    most: int
    captions: int
    compared: int
    diversity: dict[str, float]
    oracle: dict[str, float]
    mean: dict[str, float]


def score_caption_sets(
    captions: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str] = METRICS,
    tokenizer: str = "auto",
    java_timeout: float = 3600.0,
) -> CaptionSetScores:
    """Scores several captions per image against its references and against each other.

    Args:
        captions: image id -> captions, at least one.
        references: see `score_captions`, also for the other arguments.
        metrics: metrics of oracle and mean scores.
        tokenizer: tokenizer of captions and references.
        java_timeout: seconds after which a Java program is killed.

    Raises:
        InputError: an image has no caption, no image has two; or see `score_captions`.
    """
    check_same_images(captions, references)
    if bare := [image for image, own in captions.items() if not own]:
        raise InputError(f"no caption of {len(bare)} images, such as {bare[0]!r}")
    most = max(map(len, captions.values()))
    # Images with fewer captions repeat their last one, which is left out of their scores.
    ranks = [
        score_captions(
            {image: own[min(rank, len(own) - 1)] for image, own in captions.items()},
            references,
            metrics=metrics,
            tokenizer=tokenizer,
            java_timeout=java_timeout,
        )
        for rank in range(most)
    ]
    each = {
        metric: [
            [scored.per_image[metric][image] for scored in ranks[: len(captions[image])]]
            for image in references
        ]
        for metric in ranks[0].per_image
        if all(metric in scored.per_image for scored in ranks)
    }
    name = ranks[0].tokenizer
    tokenized = _tokenize(captions, references, name, java_timeout)
    groups = [
        [text for text in own if text]
        for own in _tokenize(references, references, name, java_timeout)
    ]
    return CaptionSetScores(
        most=most,
        captions=sum(map(len, tokenized)),
        compared=sum(len(own) > 1 for own in tokenized),
        diversity=measure_diversity(tokenized, Cider(groups)),
        oracle={
            metric: float(np.mean([max(own) for own in rows])) for metric, rows in each.items()
        },
        mean={
            metric: float(np.mean([np.mean(own) for own in rows])) for metric, rows in each.items()
        },
    )


def _tokenize(
    texts: Mapping[str, Sequence[str]], ids: Iterable[str], tokenizer: str, timeout: float
) -> list[list[str]]:
    """Returns the tokenized texts of each image."""
    rows = [texts[image] for image in ids]
    flat = [text for row in rows for text in row]
    tokens = iter(tokenizers.tokenize(flat, tokenizer, timeout=timeout))
    return [list(itertools.islice(tokens, len(row))) for row in rows]


def measure_diversity(captions: Sequence[Sequence[str]], cider: Cider) -> dict[str, float]:
    """Computes the measures in `DIVERSITY`, without images with a single caption.

    Args:
        captions: tokenized captions of each image.
        cider: scorer with the document frequencies of references.

    Raises:
        InputError: no image has two captions.
    """
    sets = [list(own) for own in captions if len(own) > 1]
    if not sets:
        raise InputError(
            "no image has two captions to compare: request more per image (--captions)"
        )
    return {
        "div_1": float(np.mean([distinct_ngrams(own, 1) for own in sets])),
        "div_2": float(np.mean([distinct_ngrams(own, 2) for own in sets])),
        "mbleu_4": _mutual_bleu(sets),
        "self_cider": float(np.mean([spread(kernel) for kernel in cider.kernels(sets)])),
    }


def distinct_ngrams(captions: Sequence[str], order: int) -> float:
    """Returns the number of distinct n-grams of tokenized captions, divided by their words."""
    words = [caption.split() for caption in captions]
    ngrams = {tuple(row[i : i + order]) for row in words for i in range(len(row) - order + 1)}
    return len(ngrams) / max(sum(map(len, words)), 1)


def spread(kernel: np.ndarray) -> float:
    """Returns the self-CIDEr of N > 1 captions from their similarities float[N, N].

    With the singular values s of the captions' vectors, whose squares are the eigenvalues of the
    matrix: -log(max s / sum s) / log N.
    """
    values = np.sqrt(np.clip(np.linalg.eigvalsh(kernel), 0, None))
    total = values.sum()
    # Captions whose words all have weight zero do not differ.
    return float(np.log(total / values.max()) / np.log(len(values))) if total > 0 else 0.0


def _mutual_bleu(sets: Sequence[Sequence[str]]) -> float:
    """Returns the mean over ranks of the BLEU-4 of all captions of a rank against the others."""
    found = []
    for rank in range(max(map(len, sets))):
        chosen = [own for own in sets if rank < len(own)]
        others = {i: [*own[:rank], *own[rank + 1 :]] for i, own in enumerate(chosen)}
        candidates = {i: [own[rank]] for i, own in enumerate(chosen)}
        score, _ = Bleu(4).compute_score(others, candidates, verbose=0)
        found.append(score[3])
    return float(np.mean(found))
