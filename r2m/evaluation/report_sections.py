"""Sections of a report: several captions per image, and the confidence of captions."""

from __future__ import annotations

from dataclasses import asdict

from r2m.evaluation.caption_sets import CaptionSetScores
from r2m.evaluation.confidence import Calibration, Reliability
from r2m.evaluation.report import METRIC_TITLES, Section

_DIVERSITY_TITLES = {
    "div_1": "Div-1 (higher is more diverse)",
    "div_2": "Div-2 (higher is more diverse)",
    "mbleu_4": "mBLEU-4 (lower is more diverse)",
    "self_cider": "self-CIDEr (higher is more diverse)",
}


def caption_sets_section(scores: CaptionSetScores) -> Section:
    """Returns oracle scores, mean scores and diversity of several captions per image."""
    metrics = [name for name in METRIC_TITLES if name in scores.oracle]
    lines = [
        f"## {scores.most} captions per image",
        "",
        f"Oracle: each image's best caption by the metric itself, of {scores.captions} captions. "
        "BLEU is that of single captions.",
        "",
        "| metric | oracle x100 | mean x100 |",
        "|---|---:|---:|",
        *(
            f"| {METRIC_TITLES[name]} | {100 * scores.oracle[name]:.2f} "
            f"| {100 * scores.mean[name]:.2f} |"
            for name in metrics
        ),
        "",
        f"| diversity of the captions of an image ({scores.compared} images) | |",
        "|---|---:|",
        *(
            f"| {title} | {scores.diversity[name]:.4f} |"
            for name, title in _DIVERSITY_TITLES.items()
        ),
    ]
    return Section("caption_sets", asdict(scores), lines)


def confidence_section(
    calibration: Calibration, reliability: Reliability, threshold: float, fitted_on: str
) -> Section:
    """Returns the reliability of confidences.

    Args:
        calibration: calibration that gives the confidences.
        reliability: reliability of the confidences, on captions that they were not fitted on.
        threshold: CIDEr-D (1.0 = 100) from which these captions are as good as a typical human one.
        fitted_on: data that the calibration was fitted on, such as "the other folds of these
            images".
    """
    lines = [
        "## Confidence",
        "",
        "Probability that a caption is as good as a typical human one: its CIDEr-D against the "
        f"references is at least {100 * threshold:.1f}, the median of the reference captions "
        "against the others of their image. "
        f"{100 * reliability.base_rate:.1f} % of the captions are. Fitted on {fitted_on}.",
        "",
        "| confidence (mean) | observed | captions |",
        "|---:|---:|---:|",
        *(
            f"| {100 * b.predicted:.1f} % | {100 * b.observed:.1f} % | {b.count} |"
            for b in reliability.bins
        ),
        "",
        f"Brier score {reliability.brier:.4f} (base rate alone: {reliability.base_brier:.4f}), "
        f"expected calibration error {100 * reliability.calibration_error:.1f} %.",
    ]
    content = {
        "event": "CIDEr-D against the references >= threshold",
        "threshold": threshold,
        "fitted_on": fitted_on,
        "calibration": asdict(calibration),
        "reliability": asdict(reliability),
    }
    return Section("confidence", content, lines)


def no_confidence_section(reason: str) -> Section:
    """Returns the section with the reason why captions have no confidence."""
    lines = ["## Confidence", "", f"Not calibrated: {reason}."]
    return Section("confidence", {"unavailable": reason}, lines)
