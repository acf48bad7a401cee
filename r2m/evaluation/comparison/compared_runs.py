"""Scores of several runs over the images that all of them captioned."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from r2m.evaluation import tokenizers
from r2m.evaluation.caption_scores import CaptionScores, score_captions
from r2m.evaluation.cider import Cider
from r2m.evaluation.comparison.evaluations import Evaluation
from r2m.evaluation.comparison.paired_bootstrap import (
    PairedTest,
    adjust_for_several,
    paired_test,
    resampled_means,
)
from r2m.evaluation.confidence import (
    NoCalibrationError,
    Reliability,
    measure_reliability,
    typical_human_score,
)
from r2m.evaluation.matching import ImageLabel, match_images
from r2m.evaluation.output_files import name_some
from tfrecords.core.errors import InputError

RESAMPLES = 10_000


class ReferencedImage(NamedTuple):
    """An image with reference captions.

    Attributes:
        label: names of the image.
        references: captions that people wrote.
    """

    label: ImageLabel
    references: Sequence[str]


class Pair(NamedTuple):
    """Comparison of two runs.

    Attributes:
        first: index of the first run.
        second: index of the second run.
        test: significance test of the mean CIDEr.
        adjusted: p-value, adjusted for the number of pairs.
    """

    first: int
    second: int
    test: PairedTest
    adjusted: float


class RunConfidence(NamedTuple):
    """Reliability of the confidences of a run.

    Attributes:
        threshold: CIDEr-D from which a caption is as good as a typical human one.
        reliability: reliability of the confidences; None if there are none.
        reason: reason why there are none.
    """

    threshold: float
    reliability: Reliability | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ComparedRuns:
    """Runs, the images that all of them captioned, and their scores on these.

    Attributes:
        runs: R evaluations.
        names: names of the N images.
        references: references of each image.
        captions: captions of the N images by each of the R runs.
        confidences: confidences of these captions; None where unknown.
        scores: scores of each run.
        cider: float64[R, N]; None if CIDEr was not computed.
        pairs: comparisons of all pairs of runs, by CIDEr.
        reliability: reliability of the confidences of each run.
        left_out: name of a run -> number of images that another run did not caption or without
            references.
        resamples: number of resamples of the bootstrap.
        seed: seed of the bootstrap.
    """

    runs: Sequence[Evaluation]
    names: Sequence[str]
    references: Sequence[Sequence[str]]
    captions: Sequence[Sequence[str]]
    confidences: Sequence[Sequence[float | None]]
    scores: Sequence[CaptionScores]
    cider: np.ndarray | None
    pairs: Sequence[Pair]
    reliability: Sequence[RunConfidence]
    left_out: Mapping[str, int]
    resamples: int
    seed: int


def compare_runs(
    runs: Sequence[Evaluation],
    images: Sequence[ReferencedImage],
    *,
    metrics: Sequence[str],
    tokenizer: str = "auto",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ComparedRuns:
    """Scores runs over the images that all of them captioned, and tests their differences.

    Args:
        runs: two or more.
        images: images with references.
        metrics: see `score_captions`.
        tokenizer: see `score_captions`.
        resamples: number of resamples of the paired bootstrap.
        seed: seed of the paired bootstrap.

    Raises:
        InputError: no image was captioned by all runs, or names match in several ways.
    """
    found = [_captions_by_image(run, images) for run in runs]
    common = [
        place
        for place, image in enumerate(images)
        if image.references and all(place in own for own in found)
    ]
    if not common:
        raise InputError(
            f"no image with references was captioned by all of "
            f"{name_some(run.name for run in runs)}: compare evaluations of the same split"
        )
    names = _unique_names([images[place].label for place in common])
    references = [list(images[place].references) for place in common]
    captions = [[own[place][0] for place in common] for own in found]
    confidences = [[own[place][1] for place in common] for own in found]
    table = dict(zip(names, references, strict=True))
    scores = [
        score_captions(
            dict(zip(names, own, strict=True)), table, metrics=metrics, tokenizer=tokenizer
        )
        for own in captions
    ]
    cider = None
    pairs: list[Pair] = []
    if all("cider" in own.per_image for own in scores):
        cider = np.array([[own.per_image["cider"][name] for name in names] for own in scores])
        pairs = _pairs(cider, resamples, seed)
    return ComparedRuns(
        runs=runs,
        names=names,
        references=references,
        captions=captions,
        confidences=confidences,
        scores=scores,
        cider=cider,
        pairs=pairs,
        reliability=_reliability(confidences, references, cider, scores[0].tokenizer),
        left_out={
            run.name: len(own) - len(common)
            for run, own in zip(runs, found, strict=True)
            if len(own) > len(common)
        },
        resamples=resamples,
        seed=seed,
    )


def _captions_by_image(
    run: Evaluation, images: Sequence[ReferencedImage]
) -> dict[int, tuple[str, float | None]]:
    """Returns image index -> caption and confidence."""
    try:
        _, places = match_images(
            [one.label for one in run.captions], [image.label for image in images]
        )
    except InputError as error:
        raise InputError(f"{run.predictions}: {error}") from error
    return {
        place: (" ".join(one.captions), one.confidence)
        for one, place in zip(run.captions, places, strict=True)
        if place is not None
    }


def _unique_names(labels: Sequence[ImageLabel]) -> list[str]:
    names = [label.name for label in labels]
    return names if len(set(names)) == len(names) else [str(label) for label in labels]


def _pairs(cider: np.ndarray, resamples: int, seed: int) -> list[Pair]:
    means = resampled_means(cider, resamples, seed)
    places = list(itertools.combinations(range(len(cider)), 2))
    tests = [paired_test(cider[a], cider[b], means[:, [a, b]]) for a, b in places]
    adjusted = adjust_for_several(np.array([test.p_value for test in tests]))
    return [
        Pair(a, b, test, float(p)) for (a, b), test, p in zip(places, tests, adjusted, strict=True)
    ]


def _reliability(
    confidences: Sequence[Sequence[float | None]],
    references: Sequence[Sequence[str]],
    cider: np.ndarray | None,
    tokenizer: str,
) -> list[RunConfidence]:
    """Measures the reliability of each run's confidences, relative to typical human captions."""
    none = [RunConfidence(float("nan"), None, "CIDEr was not computed")] * len(confidences)
    if cider is None or all(value is None for own in confidences for value in own):
        return (
            none
            if cider is None
            else [RunConfidence(float("nan"), None, "its captions have no confidence")]
            * len(confidences)
        )
    texts = iter(tokenizers.tokenize([t for own in references for t in own], tokenizer))
    groups = [[text for text in itertools.islice(texts, len(own)) if text] for own in references]
    try:
        threshold = typical_human_score(Cider(groups).score_references())
    except NoCalibrationError as error:
        return [RunConfidence(float("nan"), None, str(error))] * len(confidences)
    found = []
    for own, scores in zip(confidences, cider, strict=True):
        known = np.array([value is not None for value in own])
        if not known.any():
            found.append(RunConfidence(threshold, None, "its captions have no confidence"))
            continue
        values = np.array([value for value in own if value is not None])
        reliability = measure_reliability(values, scores[known] >= threshold)
        found.append(RunConfidence(threshold, reliability))
    return found
