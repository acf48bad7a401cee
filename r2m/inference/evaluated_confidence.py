"""Confidences of the captions of a split that has references, and how reliable they are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from r2m.configuration.settings import VALIDATION_SPLIT
from r2m.evaluation import tokenizers
from r2m.evaluation.cider import Cider
from r2m.evaluation.confidence import (
    NoCalibrationError,
    Reliability,
    fit_confidence,
    measure_reliability,
    typical_human_score,
)
from r2m.evaluation.report import Section
from r2m.evaluation.report_sections import confidence_section, no_confidence_section
from r2m.inference.calibration_file import StoredCalibration, write_calibration
from r2m.inference.captioning import Hypothesis
from r2m.inference.run import Run
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records


def evaluate_confidence(
    run: Run,
    records: Records,
    split: str,
    hypotheses: Mapping[str, Sequence[Hypothesis]],
    references: Mapping[str, Sequence[str]],
    tokenizer: str,
) -> tuple[dict[str, list[Hypothesis]], Section | None]:
    """Computes the confidences of captions and their reliability.

    On the validation split the calibration is fitted and stored in the run folder; the confidence
    of each image comes from a fit on other images. On other splits the stored calibration is used.

    Args:
        run: run that captioned.
        records: records of the images.
        split: split of the records.
        hypotheses: captions of each image, best first.
        references: references of the images to be scored.
        tokenizer: tokenizer of captions and references, see `tokenizers.tokenize`.

    Returns:
        The captions with their confidences, and a section for the report; without a calibration,
        the unchanged captions and the reason or None.
    """
    captions = {name: list(own) for name, own in hypotheses.items()}
    scored = [name for name in references if captions[name]]
    means = np.array([_mean(captions[name][0]) for name in scored])
    try:
        scores, human = _scores(captions, scored, references, tokenizer)
        if split != VALIDATION_SPLIT:
            if run.calibration is None:
                return captions, None
            calibration, fitted_on = run.calibration
            confidences = calibration.confidences(means)
            threshold = typical_human_score(human)
            reliability = measure_reliability(confidences, scores >= threshold)
        else:
            fitted = fit_confidence(means, scores, human)
            calibration, confidences = fitted.calibration, fitted.confidences
            threshold, reliability = calibration.threshold, fitted.reliability
            fitted_on = "the other folds of these images"
            _store(run, StoredCalibration(calibration, f"{records.name} {split}"), reliability)
    except (NoCalibrationError, InputError) as error:
        logging.warning("the confidence of captions is not calibrated: %s", error)
        return captions, no_confidence_section(str(error))
    held_out = dict(zip(scored, confidences, strict=True))
    for name, own in captions.items():
        values = [calibration(one.log_probability, one.length) for one in own]
        if name in held_out:
            values[0] = float(held_out[name])
        captions[name] = [
            one._replace(confidence=value) for one, value in zip(own, values, strict=True)
        ]
    return captions, confidence_section(calibration, reliability, threshold, fitted_on)


def _mean(caption: Hypothesis) -> float:
    return caption.log_probability / max(caption.length, 1)


def _scores(
    captions: Mapping[str, Sequence[Hypothesis]],
    names: Sequence[str],
    references: Mapping[str, Sequence[str]],
    tokenizer: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns CIDEr-D of the best caption of each image, and of references; see `Cider`."""
    texts = [captions[name][0].caption for name in names]
    flat = [text for name in names for text in references[name]]
    tokens = tokenizers.tokenize([*texts, *flat], tokenizer)
    rest = iter(tokens[len(texts) :])
    groups = [list(itertools.islice(rest, len(references[name]))) for name in names]
    cider = Cider([[text for text in group if text] for group in groups])
    return cider.score(tokens[: len(texts)]), cider.score_references()


def _store(run: Run, stored: StoredCalibration, reliability: Reliability) -> None:
    """Writes the calibration; only warns if the folder is not writable."""
    folder = run.folders[0].path
    try:
        path = write_calibration(folder, run.identity(), stored, reliability)
    except (OSError, InputError) as error:
        logging.warning(
            "the calibration of confidences is not saved: cannot write to %s: %s", folder, error
        )
    else:
        logging.info("captions by %s now have a confidence: %s", run.name, path)
