"""Python interface of R2M: trained runs caption images, or embed images and sentences.

Needs no TensorFlow until a run is loaded.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tfrecords.core.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from r2m.configuration.decoding_settings import DecodingChanges
    from r2m.inference.captioning import Hypothesis
    from r2m.inference.loaded_model import ImageReader
    from r2m.inference.run import Run

BATCH_SIZE = 32

RunPath = str | os.PathLike[str]


class Alternative(NamedTuple):
    """A further caption that the search found.

    Attributes:
        text: the caption.
        score: score by which the search ranks captions, see `Caption`.
        log_probability: natural logarithm of its probability.
        confidence: see `Caption`.
    """

    text: str
    score: float
    log_probability: float
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class Caption:
    """The caption of an image.

    Attributes:
        image: the image, as it was given.
        text: the caption; empty if the image cannot be read.
        score: score by which the search ranks captions: log_probability divided by the length
            penalty of n words, end marker included. The penalty is n**alpha by default, see
            `length_penalty`. NaN without a caption.
        log_probability: natural logarithm of the caption's probability, end marker included. NaN
            without a caption.
        confidence: probability that the caption is as good as a typical human one, see
            WORKSPACE.md. None without a caption, and for runs that `r2m-evaluate` has not
            calibrated with these decoding settings.
        alternatives: the next best captions, best first.
        concepts: for R2M, the concepts that were captioned, most certain first.
        error: reason why the image cannot be read, or None.
    """

    image: Any
    text: str
    score: float
    log_probability: float
    confidence: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    concepts: tuple[str, ...] = ()
    error: str | None = None


def load(
    runs: RunPath | Sequence[RunPath],
    *,
    weights: RunPath | None = None,
    ensemble_weights: Sequence[float] | None = None,
    precision: str = "float32",
    **decoding: Unpack[DecodingChanges],
) -> Any:
    """Loads a trained run, or several captioners as an ensemble.

    Args:
        runs: folder of an experiment (its last stage is used, which the `repr` of the captioner
            shows) or of a stage, for example `workspace/runs/updown` or
            `workspace/runs/updown/cross_entropy`. A list of supervised captioners is an ensemble.
        weights: file of the backbone's weights, for captioners whose records were built with such a
            file.
        ensemble_weights: weights of the word probabilities of each run; by default all equal.
        precision: precision of activations; `mixed_bfloat16` is faster on processors with bfloat16
            instructions.
        **decoding: decoding settings, such as `beam_size=5`, described by
            `r2m.configuration.decoding_settings.DecodingChanges`; by default as trained.

    Returns:
        An `ImageCaptioner`; for a visual-semantic embedding a `RetrievalRun`, with `encode_images`,
        `encode_sentences` and `similarity`.

    Raises:
        InputError: a folder is not a run folder, or a setting is invalid.
        TrainingError: a run has no complete checkpoint.
    """
    from r2m.inference.retrieval_run import RetrievalRun, refuse_caption_settings
    from r2m.inference.run import Run
    from r2m.inference.run_folder import RunFolder
    from r2m.inference.run_kinds import kind_of

    listed = [runs] if isinstance(runs, str | os.PathLike) else list(runs or ())
    if not listed:
        raise InputError("no runs were given: give the folder of a run")
    folders = [RunFolder(os.fspath(folder)) for folder in listed]
    file = None if weights is None else os.fspath(weights)
    if len(folders) == 1 and not kind_of(folders[0]).captions:
        others = {
            "ensemble_weights": ensemble_weights is not None,
            "precision": precision != "float32",
        }
        given = [*decoding, *(name for name, is_given in others.items() if is_given)]
        refuse_caption_settings(folders[0], given)
        return RetrievalRun(folders[0], weights=file)
    run = Run.load(
        folders,
        decoding=decoding,
        weights=file,
        ensemble_weights=ensemble_weights,
        precision=precision,
    )
    return ImageCaptioner(run)


class ImageCaptioner:
    """A loaded run, or an ensemble; made by `load`."""

    def __init__(self, run: Run) -> None:
        """Wraps a run."""
        self._run = run
        self._reader: ImageReader | None = None

    def __repr__(self) -> str:
        """Returns the class and the name of the run."""
        return f"<{type(self).__name__} {self._run.name}>"

    def caption(
        self,
        images: Any,
        *,
        detections: RunPath | Sequence[RunPath] = (),
        alternatives: int | None = None,
        batch_size: int = BATCH_SIZE,
        must_contain: str | Sequence[str] | None = None,
        must_not_contain: str | Sequence[str] | None = None,
    ) -> Iterator[Caption]:
        """Captions images, lazily and in order.

        Images are read `batch_size` at a time when their captions are requested, so that a
        generator of any length needs constant memory.

        Args:
            images: paths of image files, bytes of encoded images, PIL images, and NumPy arrays
                uint8 [H, W, 3], [H, W, 4] (the last channel is dropped) or [H, W]: one, an array
                [B, H, W, 3], or an iterable of them, such as a list, a generator or an array of
                paths.
            detections: for R2M, which captions detected objects, and for captioners of detected
                regions: files, as `r2m-caption --detections` takes them. Images are then given as
                paths, by whose names detections are found, and are listed before the first is read.
            alternatives: number of further captions per image, fewer than the beam size unless
                captions are drawn; by default all that the search finds, and none if captions are
                drawn.
            batch_size: images per batch.
            must_contain: words and phrases that each caption must contain; by default as loaded. A
                search is compiled for each choice of words.
            must_not_contain: words and phrases that no caption may contain; by default as loaded.

        Yields:
            A `Caption` per image. The caption of an unreadable file is empty, and its `error` gives
            the reason; other captions are not affected.

        Raises:
            InputError: an object is not an image, for example an array of another type; detections
                are given but not used, or required but missing; or too many alternatives are
                requested.
        """
        from r2m.inference.image_sources import image_sources, path_sources

        captions = self._captions_per_image(alternatives)
        _check_batch_size(batch_size)
        run = self._with_words(must_contain, must_not_contain)
        if isinstance(detections, str | os.PathLike):
            detections = [detections]
        if detections:
            listed = list(path_sources(images))
            if not listed:
                return iter(())
            reader = self._run.image_reader(listed, [os.fspath(file) for file in detections])
            sources: Iterable[Any] = listed
        else:
            # Cached, because building a backbone takes seconds.
            reader = self._reader = self._reader or self._run.image_reader()
            sources = image_sources(images)
        return self._caption_sources(run, sources, reader, captions, batch_size)

    def _caption_sources(
        self,
        run: Run,
        sources: Iterable[Any],
        reader: ImageReader,
        captions: int,
        batch_size: int,
    ) -> Iterator[Caption]:
        from r2m.inference.image_sources import GivenImage

        batches = run.caption_images(sources, reader, captions=captions, batch_size=batch_size)
        for batch in batches:
            for found in batch:
                assert isinstance(found.source, GivenImage)
                concepts = tuple(concept.word for concept in reversed(found.concepts or ()))
                error = None if found.fault is None else found.fault.detail or found.fault.reason
                yield _caption(found.source.given, found.hypotheses, concepts, error)

    def caption_concepts(
        self,
        concepts: Iterable[Sequence[str]],
        *,
        alternatives: int | None = None,
        batch_size: int = BATCH_SIZE,
        must_contain: str | Sequence[str] | None = None,
        must_not_contain: str | Sequence[str] | None = None,
    ) -> Iterator[Caption]:
        """Captions lists of concepts with R2M, lazily and in order.

        Args:
            concepts: concepts of each caption, most important first, for example `[["dog",
                "grass"], ["cat"]]`. A repeated concept represents several objects.
            alternatives: see `caption`.
            batch_size: lists per batch.
            must_contain: see `caption`.
            must_not_contain: see `caption`.

        Yields:
            A `Caption` per list, whose `image` is the list.

        Raises:
            InputError: the run is not one of R2M, or a concept is unknown.
        """
        captions = self._captions_per_image(alternatives)
        _check_batch_size(batch_size)
        self._run.check_captions_concepts()
        run = self._with_words(must_contain, must_not_contain)
        return self._caption_lists(run, concepts, captions, batch_size)

    def _caption_lists(
        self, run: Run, concepts: Iterable[Sequence[str]], captions: int, batch_size: int
    ) -> Iterator[Caption]:
        batches = run.caption_concepts(concepts, captions=captions, batch_size=batch_size)
        for batch in batches:
            for row, hypotheses in batch:
                yield _caption(row, hypotheses, tuple(row), None)

    def _with_words(
        self,
        must_contain: str | Sequence[str] | None,
        must_not_contain: str | Sequence[str] | None,
    ) -> Run:
        """Returns the run with other words that captions must or must not contain."""
        if must_contain is None and must_not_contain is None:
            return self._run
        return self._run.with_decoding(
            {"must_contain": must_contain, "must_not_contain": must_not_contain}
        )

    def _captions_per_image(self, alternatives: int | None) -> int:
        beam = int(self._run.config.decoding.beam_size)
        if self._run.config.decoding.method != "beam":
            if operator.index(alternatives or 0) < 0:
                raise InputError(f"alternatives={alternatives}: must be at least 0")
            return (alternatives or 0) + 1
        if alternatives is None:
            return beam
        if not 0 <= operator.index(alternatives) < beam:
            hint = (
                f"; or load the run with beam_size={alternatives + 1}" if alternatives > 0 else ""
            )
            raise InputError(
                f"alternatives={alternatives}: must be from 0 to {beam - 1}, one less than the "
                f"beam size{hint}"
            )
        return alternatives + 1


def _check_batch_size(batch_size: int) -> None:
    if operator.index(batch_size) < 1:
        raise InputError(f"batch_size={batch_size}: must be at least 1")


def _caption(
    image: Any, hypotheses: Sequence[Hypothesis], concepts: tuple[str, ...], error: str | None
) -> Caption:
    found = [
        Alternative(one.caption, one.score, one.log_probability, one.confidence)
        for one in hypotheses
    ]
    best, *others = found or [Alternative("", math.nan, math.nan)]
    return Caption(
        image=image,
        text=best.text,
        score=best.score,
        log_probability=best.log_probability,
        confidence=best.confidence,
        alternatives=tuple(others),
        concepts=concepts,
        error=error,
    )
