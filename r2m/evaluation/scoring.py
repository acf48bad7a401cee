"""Scores of predictions from any tool, against references in any supported format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from r2m.evaluation.caption_scores import score_captions
from r2m.evaluation.caption_statistics import KnownCaptions
from r2m.evaluation.matching import match_images
from r2m.evaluation.metrics import METRICS
from r2m.evaluation.output_files import name_some
from r2m.evaluation.report import Report
from r2m.evaluation.result_files import (
    ALL_SPLITS,
    LabeledCaptions,
    read_any_predictions,
    read_any_references,
    training_captions,
)
from r2m.evaluation.tokenizers import choose, tokenize
from tfrecords.core.errors import InputError


def score_files(
    predictions: str,
    references: str,
    *,
    split: str | None = None,
    metrics: Sequence[str] = METRICS,
    tokenizer: str = "auto",
) -> Report:
    """Scores a file of predictions.

    Images with references but without a prediction are left out with a warning, as in
    pycocoevalcap, and so are predictions of images that the references list without a caption.

    Args:
        predictions: see `read_any_predictions`.
        references: see `read_any_references`.
        split: see `read_any_references`.
        metrics: names from `METRICS`.
        tokenizer: `auto`, or one of `tokenizers.TOKENIZERS`.

    Returns:
        The report. Its scores per image are keyed by the names in the references.

    Raises:
        InputError: a file has another form, predictions are of images that the references do not
            list, names match in several ways, or a metric or tokenizer is unknown.
    """
    found = read_any_predictions(predictions)
    images = read_any_references(references, split)
    way, places = match_images([p.label for p in found], [i.label for i in images])
    _check_all_known(found, places, way, references, images)
    pairs = [
        (p, images[place]) for p, place in zip(found, places, strict=True) if place is not None
    ]
    bare = [image for _, image in pairs if not image.captions]
    pairs = [pair for pair in pairs if pair[1].captions]
    chosen = set(places)
    unpredicted = [
        image for place, image in enumerate(images) if image.captions and place not in chosen
    ]
    settings: dict[str, Any] = {"reference file": Path(references).name, "matched by": way}
    for label, left_out in (
        ("images without a prediction (left out)", unpredicted),
        ("predictions without references (left out)", bare),
    ):
        if left_out:
            settings[label] = len(left_out)
            examples = name_some((str(image.label) for image in left_out), 3)
            logging.warning("%d %s: %s", len(left_out), label, examples)
    scores = score_captions(
        {str(image.label): " ".join(p.captions) for p, image in pairs},
        {str(image.label): image.captions for _, image in pairs},
        metrics=metrics,
        tokenizer=tokenizer,
        known=_known_captions(references, [image for _, image in pairs], tokenizer),
    )
    splits = sorted({image.split for image in images if image.split})
    return Report(
        split=" ".join([Path(references).name, *splits]),
        scores=scores,
        decode={},
        settings=settings,
        predictions=Path(predictions).name,
    )


def _known_captions(
    references: str, scored: Sequence[LabeledCaptions], tokenizer: str
) -> KnownCaptions | None:
    """Returns a recognizer of the captions of split `train`; None if there are none."""
    texts = training_captions(references, scored)
    if not texts:
        return None

    def known(captions: Sequence[str]) -> np.ndarray:
        name = choose(tokenizer)
        among = set(tokenize(texts, name))
        return np.array([caption in among for caption in tokenize(captions, name)], bool)

    return known


def _check_all_known(
    found: Sequence[LabeledCaptions],
    places: Sequence[int | None],
    way: str,
    references: str,
    images: Sequence[LabeledCaptions],
) -> None:
    unknown = [p for p, place in zip(found, places, strict=True) if place is None]
    if not unknown:
        return
    hint = "remove them, or give the references of all images"
    others = read_any_references(references, ALL_SPLITS)
    if len(others) > len(images):
        _, elsewhere = match_images([p.label for p in found], [i.label for i in others])
        splits = sorted({others[p].split or "" for p in elsewhere if p is not None})
        hint = f"the predictions are of the splits {', '.join(splits)}: choose with --split"
    raise InputError(
        f"{references} has no image for {len(unknown)} of {len(found)} predictions (matched by "
        f"{way}): {name_some((str(p.label) for p in unknown), 3)}; it contains "
        f"{name_some((str(image.label) for image in images), 3)}; {hint}"
    )
