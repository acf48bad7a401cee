"""Attention of a captioner for galleries: one map per word of each image's caption."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping

import tensorflow as tf

from pipelines.inputs.pixels import Pixels
from r2m.evaluation.pages.gallery_items import WordMaps
from r2m.inference.attention_maps import attention_maps, inputs_with_maps, visible_fractions
from r2m.inference.loaded_model import ImageReader
from r2m.inference.run import Run
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.core.shards import Skip
from tfrecords.pictures.headers import ImageHeader, read_header
from tfrecords.pictures.named_images import ImageSource

_BATCH = 32  # images per batch


class WordMapReader:
    """Computes the attention of a captioner over images, for given captions."""

    def __init__(self, run: Run) -> None:
        """Checks that the captioner has attention maps.

        Raises:
            InputError: the run is an ensemble, or its captioner has no attention over a grid.
        """
        if len(run.folders) > 1:
            raise InputError(
                f"--attention shows the attention of one captioner, and {len(run.folders)} were "
                "given: leave it out, or give one --run"
            )
        try:
            trained_on = inputs_with_maps(run.folders[0])
        except InputError as error:
            raise InputError(f"--attention is not available: {error}") from error
        self._run, self._trained_on = run, trained_on

    def of_images(
        self, images: Iterable[tuple[ImageSource, str]], reader: ImageReader
    ) -> Iterator[WordMaps | None]:
        """Yields the maps of images with their captions, lazily and in order.

        They are None for an image without a caption, or that cannot be read.
        """
        remaining = iter(images)
        while batch := list(itertools.islice(remaining, _BATCH)):
            sources, captions = zip(*batch, strict=True)
            read = reader(sources)
            data = [source.read() for source in sources]
            faults = [own is not None for own in read.faults]
            yield from self._maps(read.inputs, captions, data, faults)

    def of_records(
        self, records: Records, split: str, captions: Mapping[str, str], names: Collection[str]
    ) -> dict[str, WordMaps]:
        """Returns the maps of images of records, by name.

        Args:
            records: records that the run reads.
            split: split of the records.
            captions: image id -> caption.
            names: names of the images to read.
        """
        found: dict[str, WordMaps] = {}
        pictures = {
            example["image_id"]: example["image"]
            for example in self._run.examples(records, split)
            if example["image_id"] in names
        }
        for batch in self._run.record_batches(records, split):
            own = [name.decode() for name in batch.pop("image_id").numpy()]
            rows = [row for row, name in enumerate(own) if name in names]
            for start in range(0, len(rows), _BATCH):
                some = rows[start : start + _BATCH]
                inputs = {key: tf.gather(value, some) for key, value in batch.items()}
                texts = [captions[own[row]] for row in some]
                data = [pictures[own[row]] for row in some]
                for row, maps in zip(some, self._maps(inputs, texts, data), strict=True):
                    if maps is not None:
                        found[own[row]] = maps
        return found

    def _maps(
        self,
        inputs: dict[str, tf.Tensor],
        captions: Iterable[str],
        pictures: Iterable[bytes | Skip],
        faults: Iterable[bool] = itertools.repeat(False),
    ) -> Iterator[WordMaps | None]:
        captions, trained_on = list(captions), self._trained_on
        # With consensus there are inputs in addition to those of the model.
        own_inputs = {name: inputs[name] for name in trained_on.signature}
        maps = attention_maps(
            self._run.model, self._run.vocabulary, own_inputs, captions, trained_on.grid_shape
        )
        for own, picture, fault in zip(maps, pictures, faults, strict=False):
            header = None if fault or not own.words else _header(picture)
            if header is None:
                yield None
                continue
            part = visible_fractions(
                header.height, header.width, trained_on.inputs.find(Pixels), trained_on.backbone
            )
            yield WordMaps(own.words, own.weights, part)


def _header(picture: bytes | Skip) -> ImageHeader | None:
    """Returns the header of a picture; None without a picture, as in some records."""
    if isinstance(picture, Skip):
        return None
    try:
        return read_header(picture)
    except InputError:
        return None
