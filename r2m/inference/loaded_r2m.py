"""R2M, loaded from its run folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import tensorflow as tf

from pipelines import images
from pipelines.inputs.model_input import ModelInput
from pipelines.inputs.spec import InputSpec
from r2m.engine.persistence.checkpoints import Checkpoint
from r2m.inference.concept_rules import ConceptChooser, ConceptRules
from r2m.inference.loaded_model import ImageInputs, ImageReader
from r2m.inference.r2m_model import build_model, concepts_of
from r2m.inference.run_folder import RunFolder
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.core.shards import Skip
from tfrecords.formats.detections.image_concepts import ImageConcept
from tfrecords.pictures.image_reading import decode_files
from tfrecords.pictures.named_images import ImageSource


class LoadedR2M:
    """A trained R2M (a `LoadedModel`), which captions concepts found by detectors."""

    def __init__(self, folder: RunFolder, precision: str = "float32") -> None:
        """Builds the model with activations of `precision` and restores its weights.

        Raises:
            InputError: the vocabulary is missing or damaged, or a setting is invalid.
            TrainingError: the run has no complete checkpoint, or one that does not fit.
        """
        self.folders: tuple[RunFolder, ...] = (folder,)
        self.vocabulary = folder.vocabulary
        self._concepts = concepts_of(folder.config)
        self.inputs = InputSpec((self._concepts,))
        self.signature = self.inputs.signature()
        feature_size = _feature_size(folder.checkpoint)
        self.model = build_model(folder.config.model, self.vocabulary, feature_size, precision)
        folder.restore(self.model)

    @cached_property
    def rules(self) -> ConceptRules:
        """Rules by which detections become concepts, as in the training of the run."""
        return ConceptRules.read(self.folders[0].path)

    def open_records(self, folder: str) -> Records:
        """Opens `images` records."""
        return images.open_images(folder)

    def record_batches(
        self, records: Records, split: str, more: tuple[ModelInput, ...] = ()
    ) -> tf.data.Dataset:
        """Returns batches of `image_id` and concepts; see `LoadedModel`."""
        assert not more, "R2M reads no features"
        return images.image_batches(records, split, self.inputs)

    def examples(self, records: Records, split: str) -> Iterable[dict[str, Any]]:
        """Yields the images of a split; see `LoadedModel`."""
        return images.examples(records, split)

    def image_reader(
        self,
        images: Sequence[ImageSource],
        *,
        detections: Sequence[str],
        weights: str | None,
        more: tuple[ModelInput, ...] = (),
    ) -> ImageReader:
        """Returns a function that selects concepts of images from detections; see `LoadedModel`."""
        assert not more, "R2M reads no features"
        path = self.folders[0].path
        if weights is not None:
            raise InputError(f"{path} is a run of R2M, which has no backbone: leave out --weights")
        if not detections:
            raise InputError(
                f"{path} is a run of R2M, which captions detected objects: give files of "
                "detections with --detections (Python: detections=)"
            )
        choose = ConceptChooser(
            self.rules, images, self.rules.sources(detections), self._concepts.max_concepts
        )

        def read(batch: Sequence[ImageSource]) -> ImageInputs:
            concepts = [choose(image.name) for image in batch]
            # R2M reads no pixels, but captions of unreadable images are useless.
            decoded = decode_files(batch, None)
            faults = [item if isinstance(item, Skip) else None for item in decoded]
            return ImageInputs(self._inputs(concepts), concepts, faults)

        return read

    def concept_inputs(self, rows: Sequence[Sequence[str]]) -> dict[str, tf.Tensor]:
        """Returns model inputs for lists of concepts; see `LoadedModel`."""
        return self._inputs([self.rules.named_concepts(row, self.vocabulary) for row in rows])

    def _inputs(self, rows: Sequence[Sequence[ImageConcept]]) -> dict[str, tf.Tensor]:
        """Returns model inputs for rows of concepts, each with the most certain one last."""
        ids = [[self.vocabulary.id_of(concept.word) for concept in row] for row in rows]
        counts = [[concept.count for concept in row] for row in rows]
        columns = {"concepts": ids, "concept_counts": counts}
        return self.inputs.assemble(
            {
                name: tf.ragged.constant(rows, tf.int64, ragged_rank=1)
                for name, rows in columns.items()
            }
        )


def _feature_size(checkpoint: Checkpoint) -> int | None:
    """Returns the input size of the image projection in a checkpoint; None without projection."""
    for name, shape, _ in checkpoint.sidecar["variables"]:
        if name == "image_map/kernel":
            return int(shape[0])
    return None
