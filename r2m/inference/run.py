"""A trained run, or an ensemble of runs, loaded to caption.

run = Run.load("workspace/runs/updown/cross_entropy", decoding={"beam_size": 5})
for batch in run.caption_images(images, run.image_reader(images)):
    for image in batch:
        print(image.source.name, image.hypotheses[0].caption)
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from r2m.configuration.decoding_settings import (
    check_in_use,
    decoding_changes,
    settings_to_report,
)
from r2m.inference.calibration_file import StoredCalibration, read_calibration
from r2m.inference.captioning import Captioning, Hypothesis, search_options
from r2m.inference.consensus import ConsensusOptions, ConsensusReranker
from r2m.inference.loaded_model import ImageReader, LoadedModel
from r2m.inference.run_folder import RunFolder, run_names
from r2m.inference.run_kinds import kind_of
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.core.shards import Skip
from tfrecords.formats.detections.image_concepts import ImageConcept
from tfrecords.pictures.named_images import ImageSource

IMAGES_AT_ONCE = 128

RunPath = str | Path | RunFolder


class CaptionedImage(NamedTuple):
    """An image with its captions.

    Attributes:
        source: the image.
        hypotheses: its captions, best first; empty if it cannot be read.
        concepts: concepts that R2M captioned, the most certain last; None for other models.
        fault: reason why it cannot be read; None if it can.
    """

    source: ImageSource
    hypotheses: list[Hypothesis]
    concepts: list[ImageConcept] | None
    fault: Skip | None


class Run:
    """A trained run or an ensemble, ready to caption records and images.

    Attributes:
        folders: opened run folders; for an ensemble those of the members.
        config: configuration of the (first) run, with the decoding settings in use.
        model: captioner (`models.captioners`) or ensemble.
        vocabulary: vocabulary of the model.
        captioning: captions batches of the model's inputs.
        loaded: loaded run or ensemble, with the sources of its inputs.
        weights: file of the backbone's weights; None if none was given.
        precision: precision of activations.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        decoding: Mapping[str, Any] | None = None,
        reranker: ConsensusReranker | None = None,
        weights: str | None = None,
        ensemble_weights: Sequence[float] | None = None,
        precision: str = "float32",
    ) -> None:
        """Prepares the caption search; for arguments and errors see `load`."""
        self.loaded, self._reranker, self.weights = loaded, reranker, weights
        self.precision = precision
        self.folders, self.model = loaded.folders, loaded.model
        self.vocabulary = loaded.vocabulary
        self.config = copy.deepcopy(self.folders[0].config)
        if reranker is not None:
            self.config.decoding.update(reranker.settings())
        if ensemble_weights is not None:
            self.config.decoding.ensemble_weights = list(map(float, ensemble_weights))
        self._changed: dict[str, Run] = {}
        self._prepare_decoding(decoding or {})

    def _prepare_decoding(self, given: Mapping[str, Any]) -> None:
        changes = decoding_changes(given)
        self.config.decoding.update(changes)
        check_in_use(changes, self.config.decoding)
        # With consensus the last hypothesis of the search may be the best.
        returned = 1 if self._reranker is None else None
        search = search_options(self.config, self.vocabulary, returned=returned)
        self.captioning = Captioning(
            self.model, self.vocabulary, search, self.loaded.signature, self._reranker
        )

    def with_decoding(self, changes: Mapping[str, Any]) -> Run:
        """Returns a run with changed `decoding` settings, which shares the model.

        The run is cached, so that its search is compiled once.

        Raises:
            InputError: a setting is invalid.
        """
        key = json.dumps(decoding_changes(changes), sort_keys=True)
        if key not in self._changed:
            changed = copy.copy(self)
            changed.config = copy.deepcopy(self.config)
            changed._changed = {}
            changed.__dict__.pop("calibration", None)  # belongs to other settings
            changed._prepare_decoding(changes)
            # Another thread may have created one in the meantime.
            self._changed.setdefault(key, changed)
        return self._changed[key]

    @classmethod
    def load(
        cls,
        runs: RunPath | Sequence[RunPath],
        *,
        decoding: Mapping[str, Any] | None = None,
        consensus: ConsensusOptions | None = None,
        weights: str | None = None,
        ensemble_weights: Sequence[float] | None = None,
        precision: str = "float32",
    ) -> Run:
        """Loads a run of any kind that captions, or several captioners as an ensemble.

        Args:
            runs: folder of a stage, for example `workspace/runs/shapes/tri_rec`, or of an
                experiment, whose last stage is used. Several make an ensemble; its settings are
                those of the first.
            decoding: changes to the run's `decoding` settings, by name.
            consensus: options of reranking by the captions of similar training images; only for
                runs trained on images with captions. None: the most likely caption is used.
            weights: file of the backbone's weights, for captioners whose records were built with
                such a file; required to caption images.
            ensemble_weights: weights of the probabilities of each run; None: all equal.
            precision: precision of activations, `float32` or `mixed_bfloat16`; runs of both may be
                loaded in either.

        Raises:
            InputError: a folder is not a run folder, the runs cannot caption together or by
                consensus, or a setting is invalid.
            TrainingError: a run has no complete checkpoint, or one that does not fit.
        """
        given = [runs] if isinstance(runs, str | Path | RunFolder) else list(runs)
        folders = [run if isinstance(run, RunFolder) else RunFolder(run) for run in given]
        kinds = [kind_of(folder) for folder in folders]
        for folder, kind in zip(folders, kinds, strict=True):
            if not kind.captions:
                raise InputError(
                    f"{folder.path} is {kind.title}, which does not caption: it ranks images and "
                    "sentences (load it alone with r2m.load, or use r2m-evaluate-retrieval or "
                    "r2m-search)"
                )
            if len(folders) > 1 and kind.join is None:
                raise InputError(f"{folder.path} is {kind.title}: only captioners make an ensemble")
            if consensus is not None and kind.rerank is None:
                raise InputError(
                    f"{folder.path} is {kind.title}: it was not trained on captions of images"
                )
        members = [
            kind.load(folder, precision) for folder, kind in zip(folders, kinds, strict=True)
        ]
        kind = kinds[0]
        if ensemble_weights is not None and len(ensemble_weights) != len(members):
            raise InputError(
                f"{len(ensemble_weights)} ensemble_weights for {len(members)} runs: give one "
                "weight per run, in the order of the runs"
            )
        loaded = members[0]
        if len(members) > 1 and kind.join is not None:
            loaded = kind.join(members, ensemble_weights)
        reranker = None
        if consensus is not None and kind.rerank is not None:
            reranker = kind.rerank(loaded, consensus)
        return cls(
            loaded,
            decoding=decoding,
            reranker=reranker,
            weights=weights,
            ensemble_weights=ensemble_weights,
            precision=precision,
        )

    @property
    def name(self) -> str:
        """Names of the run folders, `<experiment>/<stage>` each, for galleries and reports."""
        return run_names(self.folders)

    def identity(self) -> dict[str, Any]:
        """Returns the weights and settings that determine captions of given inputs, as JSON.

        They are equal for equal weights, independent of the location of the run folders.
        """
        checkpoints = [
            {"run": folder.name, "step": folder.checkpoint.step, "digest": folder.checkpoint.digest}
            for folder in self.folders
        ]
        decoding = settings_to_report(self.config.decoding.to_dict())
        # Omitted if it is the default, so that calibrations of earlier versions stay valid.
        activations = {} if self.precision == "float32" else {"precision": self.precision}
        return {"checkpoints": checkpoints, "decoding": decoding, **activations}

    @cached_property
    def calibration(self) -> StoredCalibration | None:
        """Calibration of the confidences; without one, None and a note in the log."""
        return read_calibration(self.folders[0].path, self.identity())

    def _with_confidence(self, found: list[list[Hypothesis]]) -> list[list[Hypothesis]]:
        if self.calibration is None:
            return found
        confidence = self.calibration.calibration
        return [
            [one._replace(confidence=confidence(one.log_probability, one.length)) for one in own]
            for own in found
        ]

    def open_records(self, folder: str | Path) -> Records:
        """Opens records with images to caption, of the kind that the run was trained on.

        Raises:
            InputError: the records are of another kind or have another vocabulary.
        """
        return self.loaded.open_records(str(folder))

    def record_batches(self, records: Records, split: str) -> tf.data.Dataset:
        """Returns batches of a split for `captioning.caption_batches`.

        Raises:
            InputError: the records lack a required column, or have features computed in another
                way.
        """
        if self._reranker is None:
            return self.loaded.record_batches(records, split)
        self._reranker.check_records(records)
        return self.loaded.record_batches(records, split, self._reranker.inputs)

    def examples(self, records: Records, split: str) -> Iterable[dict[str, Any]]:
        """Yields the images of a split with reference captions; see `LoadedModel.examples`."""
        return self.loaded.examples(records, split)

    def image_reader(
        self, images: Sequence[ImageSource] = (), detections: Sequence[str] = ()
    ) -> ImageReader:
        """Returns a function that computes the model's inputs from images.

        Args:
            images: all images that will be read; only required with detections.
            detections: for R2M: files with detections in the images.

        Raises:
            InputError: a required argument is missing, or the model does not use a given one.
        """
        return self.loaded.image_reader(
            images,
            detections=detections,
            weights=self.weights,
            more=() if self._reranker is None else self._reranker.inputs,
        )

    def caption_images(
        self,
        images: Iterable[ImageSource],
        reader: ImageReader,
        *,
        captions: int = 1,
        batch_size: int = IMAGES_AT_ONCE,
    ) -> Iterator[list[CaptionedImage]]:
        """Captions images lazily and in order, in lists of `batch_size`.

        Args:
            images: images to caption. Unreadable images have no captions and a `fault`.
            reader: result of `image_reader`.
            captions: number of captions per image.
            batch_size: images per batch.

        Raises:
            InputError: more captions are requested than the beam has hypotheses.
        """
        captioning = self.captioning.returning(captions)
        remaining = iter(images)
        while batch := list(itertools.islice(remaining, batch_size)):
            read = reader(batch)
            concepts = [None] * len(batch) if read.concepts is None else read.concepts
            names = [image.name for image in batch]
            found = self._with_confidence(captioning.hypotheses(read.inputs, names))
            yield [
                CaptionedImage(source, [] if fault else own, chosen, fault)
                for source, own, chosen, fault in zip(
                    batch, found, concepts, read.faults, strict=True
                )
            ]

    def check_captions_concepts(self) -> None:
        """Raises `InputError` for a model that reads images instead of concepts."""
        self.loaded.concept_inputs([])

    def caption_concepts(
        self,
        rows: Iterable[Sequence[str]],
        *,
        captions: int = 1,
        batch_size: int = IMAGES_AT_ONCE,
    ) -> Iterator[list[tuple[Sequence[str], list[Hypothesis]]]]:
        """Captions lists of concepts lazily and in order, like `caption_images`.

        Args:
            rows: concepts of each caption, most important first.
            captions: see `caption_images`.
            batch_size: see `caption_images`.

        Raises:
            InputError: the model reads images, or a concept is unknown.
        """
        captioning = self.captioning.returning(captions)
        remaining = iter(rows)
        while batch := list(itertools.islice(remaining, batch_size)):
            inputs, names = self.loaded.concept_inputs(batch), [" ".join(row) for row in batch]
            found = self._with_confidence(captioning.hypotheses(inputs, names))
            yield list(zip(batch, found, strict=True))
