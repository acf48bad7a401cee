"""What a trained run of any kind can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from r2m.inference.captioning import Captioning
from tfrecords.images.concepts import ImageConcept
from tfrecords.images.entries import ImageFile
from tfrecords.records import Records
from tfrecords.vocabulary import Vocabulary
from tfrecords.writing.shards import Skip


class TrainedRun(NamedTuple):
    """A trained run, ready to caption records of its kind.

    Attributes:
        folder: of the run, of an ensemble that of its first member.
        members: the run folders whose models caption together; of most runs its own alone.
        model: with its best weights, else the latest.
        captioning: of the model.
        vocabulary: of the model.
        config: the run's configuration, with what was overridden.
        open_records: opens a folder of the records that it is shown.
        signature: what `encode` takes.
        batches: of a split of them, as `Captioning.caption_batches` takes them. Those of a
            captioner can be asked for more kinds of features than it is shown.
        examples: the images of a split, for galleries and scoring: `image_id`, `source_id`,
            `image`, `texts` and, where they have concepts, `concepts` (ids) and `concept_scores`.
    """

    folder: Path
    members: tuple[Path, ...]
    model: Any
    captioning: Captioning
    vocabulary: Vocabulary
    config: Any
    signature: dict[str, tf.TensorSpec]
    open_records: Callable[[str], Records]
    batches: Callable[..., tf.data.Dataset]
    examples: Callable[[Records, str], Iterable[dict[str, Any]]]


class SeenFiles(NamedTuple):
    """What a model is shown of B image files.

    Attributes:
        inputs: what its `encode` takes.
        concepts: of each file, best last; None where the model is not shown concepts.
        faults: of each file, why it cannot be read; None where it can be.
    """

    inputs: dict[str, tf.Tensor]
    concepts: list[list[ImageConcept]] | None
    faults: list[Skip | None]


# Looks at a few files at once.
Look = Callable[[Sequence[ImageFile]], SeenFiles]
