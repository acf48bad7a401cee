"""Caption metrics: BLEU-1..4, ROUGE-L, CIDEr, METEOR and SPICE, computed by pycocoevalcap.

`score_captions` computes the scores of a report. `CaptionScorer` computes the cheap ones repeatedly
during training, and tokenizes and counts its references once.

All scores are fractions (CIDEr can exceed 1); papers print them times 100.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from absl import logging
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.bleu.bleu_scorer import BleuScorer, cook_refs, cook_test
from pycocoevalcap.cider.cider import Cider as CocoCider
from pycocoevalcap.rouge.rouge import Rouge

from r2m.evaluation import tokenizers
from r2m.evaluation.caption_statistics import KnownCaptions, caption_statistics
from r2m.evaluation.cider import Cider
from r2m.evaluation.java import JavaError, Unavailable
from r2m.evaluation.meteor import meteor
from r2m.evaluation.metrics import METRICS
from r2m.evaluation.output_files import name_some
from r2m.evaluation.spice import spice
from tfrecords.core.errors import InputError
from tfrecords.core.segmentation import UnspacedText


@dataclass(frozen=True, kw_only=True)
class CaptionScores:
    """Scores of a set of predictions.

    Attributes:
        scores: corpus scores that could be computed: `bleu_1` .. `bleu_4`, `rouge_l`, `cider`,
            `meteor`, `spice`.
        per_image: metric name -> score of every image id.
        unavailable: requested metrics that could not be computed -> reason.
        tokenizer: name of the tokenizer that was used (`ptb` or `ptb_python`).
        images: number of scored images.
        references: number of their references.
        empty_predictions: number of predictions without a token; they score 0.
        dropped_references: number of references without a token, which are left out.
        statistics: statistics of the predictions, see `caption_statistics`.
    """

    scores: dict[str, float]
    per_image: dict[str, dict[str, float]]
    unavailable: dict[str, str] = field(default_factory=dict)
    tokenizer: str
    images: int
    references: int
    empty_predictions: int = 0
    dropped_references: int = 0
    statistics: dict[str, float] = field(default_factory=dict)


def score_captions(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str] = METRICS,
    tokenizer: str = "auto",
    java_timeout: float = 3600.0,
    known: KnownCaptions | None = None,
) -> CaptionScores:
    """Scores one caption per image against its references.

    Args:
        predictions: image id -> caption; an empty caption scores 0.
        references: image id -> reference captions, at least one, for the same images.
        metrics: names from `METRICS`.
        tokenizer: `auto`, or one of `tokenizers.TOKENIZERS`.
        java_timeout: seconds after which a Java program is killed.
        known: recognizes training captions; None: novel captions are not counted.

    Returns:
        The scores; a metric whose program is missing or failed is in `unavailable` instead of 0.

    Raises:
        InputError: there are no images, the ids of predictions and references differ, the
            references of an image have no token, or a metric or tokenizer is unknown.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise InputError(f"unknown metrics {unknown}; known: {', '.join(METRICS)}")
    check_same_images(predictions, references)
    ids = list(references)
    name, texts = _tokenize_all(
        [predictions[i] for i in ids] + [text for i in ids for text in references[i]],
        tokenizer,
        java_timeout,
    )
    candidates = texts[: len(ids)]
    groups, dropped = _regroup(ids, references, texts[len(ids) :])

    scores: dict[str, float] = {}
    per_image: dict[str, dict[str, float]] = {}
    unavailable: dict[str, str] = {}
    for metric in dict.fromkeys(metrics):
        if metric == "spice" and not name.startswith("ptb"):
            unavailable[metric] = f"SPICE parses English, not words of the tokenizer {name!r}"
            continue
        try:
            computed = _COMPUTE[metric](candidates, groups, java_timeout)
        except Unavailable as error:
            unavailable[metric] = str(error)
            continue
        for key, (score, scores_each) in computed.items():
            scores[key] = float(score)
            per_image[key] = dict(zip(ids, map(float, scores_each), strict=True))
    return CaptionScores(
        scores=scores,
        per_image=per_image,
        unavailable=unavailable,
        tokenizer=name,
        images=len(ids),
        references=sum(map(len, groups)),
        empty_predictions=sum(not text for text in candidates),
        dropped_references=dropped,
        statistics=caption_statistics(
            candidates, None if known is None else known([predictions[i] for i in ids])
        ),
    )


class CaptionScorer:
    """BLEU, ROUGE-L and CIDEr during training, without a JVM and with references prepared once.

    With the `ptb_python` tokenizer, scores can differ from a report's in the fourth decimal.

    Attributes:
        image_ids: ids that `score` expects predictions for.
        tokenizer: the tokenizer's name, for logs.
    """

    def __init__(self, references: Mapping[str, Sequence[str]], tokenizer: str = "ptb_python"):
        """Tokenizes and counts the references.

        Args:
            references: image id -> reference captions, at least one.
            tokenizer: one of `tokenizers.TOKENIZERS` that does not need Java.

        Raises:
            InputError: there are no images, or the references of an image have no token.
        """
        self.tokenizer = tokenizer
        check_same_images(references, references)
        self.image_ids: tuple[str, ...] = tuple(references)
        texts = [text for captions in references.values() for text in captions]
        tokens = tokenizers.tokenize(texts, self.tokenizer)
        self._groups, _ = _regroup(self.image_ids, references, tokens)
        self._cooked = [cook_refs(group) for group in self._groups]
        self._cider = Cider(self._groups)

    def score(self, predictions: Mapping[str, str]) -> dict[str, float]:
        """Scores one caption for every image of the references.

        Args:
            predictions: image id -> caption.

        Returns:
            `bleu_1` .. `bleu_4`, `rouge_l` and `cider`, as fractions.

        Raises:
            InputError: predictions and references are for different images.
        """
        return {name: float(score) for name, (score, _) in self._score(predictions).items()}

    def score_images(self, predictions: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """Computes `score` for every image: `{metric: {image_id: score}}`."""
        return {
            name: dict(zip(self.image_ids, map(float, each), strict=True))
            for name, (_, each) in self._score(predictions).items()
        }

    def _score(self, predictions: Mapping[str, str]) -> _Computed:
        check_same_images(predictions, dict.fromkeys(self.image_ids, ("",)))
        candidates = tokenizers.tokenize([predictions[i] for i in self.image_ids], self.tokenizer)
        bleu = BleuScorer(n=4)
        bleu.crefs = self._cooked
        bleu.ctest = [
            cook_test(text, cooked) for text, cooked in zip(candidates, self._cooked, strict=True)
        ]
        cider = self._cider.score(candidates)
        return {
            **_name_bleu(bleu.compute_score(option="closest")),
            **_rouge(candidates, self._groups, 0.0),
            "cider": (float(cider.mean()), cider),
        }


def check_same_images(
    predictions: Mapping[str, object], references: Mapping[str, Sequence[str]]
) -> None:
    """Checks that there is exactly one prediction for every image with references.

    Raises:
        InputError: there are no images, or only one side has an id.
    """
    if not predictions and not references:
        raise InputError("no images to score: there are neither predictions nor references")
    unscored = [i for i in references if i not in predictions]
    unknown = [i for i in predictions if i not in references]
    bare = [i for i, captions in references.items() if not captions]
    faults = []
    if unscored:
        faults.append(f"no prediction for {len(unscored)} images: {name_some(unscored)}")
    if unknown:
        faults.append(f"no references for {len(unknown)} predictions: {name_some(unknown)}")
    if bare:
        faults.append(f"an empty list of references for {len(bare)} images: {name_some(bare)}")
    single = [i for i, captions in references.items() if isinstance(captions, str)]
    if single:
        faults.append(f"references must be lists, found one text for {name_some(single)}")
    if faults:
        raise InputError(
            "; ".join(faults) + ". Predictions and references must be of the same images"
        )


def _regroup(
    ids: Sequence[str], references: Mapping[str, Sequence[str]], tokens: Sequence[str]
) -> tuple[list[list[str]], int]:
    """Returns tokenized references by image, without those that have no token.

    An empty reference would give an empty prediction the best ROUGE-L and lower the CIDEr of all
    captions.
    """
    groups = []
    position = 0
    for image_id in ids:
        count = len(references[image_id])
        groups.append([text for text in tokens[position : position + count] if text])
        position += count
    bare = [image_id for image_id, group in zip(ids, groups, strict=True) if not group]
    if bare:
        raise InputError(f"references without a single word for {name_some(bare)}")
    return groups, len(tokens) - sum(map(len, groups))


def _tokenize_all(captions: Sequence[str], tokenizer: str, timeout: float) -> tuple[str, list[str]]:
    name = tokenizers.choose(tokenizer)
    try:
        return name, _warned(captions, tokenizers.tokenize(captions, name, timeout=timeout))
    except JavaError as error:
        if tokenizer != "auto":
            raise InputError(f"the tokenizer {name!r} failed: {error}; use 'ptb_python'") from error
        logging.warning("the tokenizer %r failed (%s): using 'ptb_python' instead", name, error)
        return "ptb_python", _warned(captions, tokenizers.tokenize(captions, "ptb_python"))


def _warned(captions: Sequence[str], tokenized: list[str]) -> list[str]:
    """Returns the tokenized captions; warns if whole phrases became tokens."""
    unspaced = UnspacedText()
    for caption, tokens in zip(captions, tokenized, strict=True):
        unspaced.add(caption, tokens.split())
    if found := unspaced.describe():
        logging.warning("%s; score them with --tokenizer=characters", found)
    return tokenized


_Computed = dict[str, tuple[float, Sequence[float] | np.ndarray]]
_Groups = Sequence[Sequence[str]]


def _tables(
    candidates: Sequence[str], groups: _Groups
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Returns references and candidates in the form of pycocoevalcap."""
    return dict(enumerate(map(list, groups))), {i: [c] for i, c in enumerate(candidates)}


def _name_bleu(result: tuple[Sequence[float], Sequence[Sequence[float]]]) -> _Computed:
    return {f"bleu_{n}": pair for n, pair in enumerate(zip(*result, strict=True), 1)}


def _bleu(candidates: Sequence[str], groups: _Groups, timeout: float) -> _Computed:
    return _name_bleu(Bleu(4).compute_score(*_tables(candidates, groups), verbose=0))


def _rouge(candidates: Sequence[str], groups: _Groups, timeout: float) -> _Computed:
    return {"rouge_l": Rouge().compute_score(*_tables(candidates, groups))}


def _coco_cider(candidates: Sequence[str], groups: _Groups, timeout: float) -> _Computed:
    if len(groups) < 2:
        raise Unavailable("CIDEr weights words by their image frequency: it needs two images")
    return {"cider": CocoCider().compute_score(*_tables(candidates, groups))}


def _meteor(candidates: Sequence[str], groups: _Groups, timeout: float) -> _Computed:
    return {"meteor": meteor(candidates, groups, timeout=timeout)}


def _spice(candidates: Sequence[str], groups: _Groups, timeout: float) -> _Computed:
    return {"spice": spice(candidates, groups, timeout=timeout)}


_COMPUTE: dict[str, Callable[[Sequence[str], _Groups, float], _Computed]] = {
    "bleu": _bleu,
    "rouge_l": _rouge,
    "cider": _coco_cider,
    "meteor": _meteor,
    "spice": _spice,
}
