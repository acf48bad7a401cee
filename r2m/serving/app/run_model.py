"""Trained runs as models of the app."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r2m.evaluation.pages.gallery_items import GalleryItem, captions_of_row
from r2m.inference.caption_keys import caption_keys
from r2m.inference.caption_rows import caption_row, row_item
from r2m.inference.image_sources import image_sources
from r2m.inference.loaded_model import ImageReader
from r2m.inference.run import Run
from r2m.inference.word_maps import WordMapReader
from r2m.serving.signatures import example_image
from tfrecords.core.errors import InputError
from tfrecords.core.text_files import normalize_name
from tfrecords.pictures.named_images import ImageFile

MOST_CAPTIONS = 5
"""Captions per image, unless a number is given."""


class RunModel:
    """A trained run that captions images or concepts (an `AppModel`).

    Attributes:
        by_detections: whether it reads detections in an image.
    """

    def __init__(self, run: Run, captions: int | None, detections: Sequence[str]) -> None:
        """Builds the networks and compiles the search.

        Args:
            run: the run.
            captions: number per image; None: all that the search finds, at most `MOST_CAPTIONS`.
            detections: files with detections, for runs that need them.

        Raises:
            InputError: more captions are requested than the beam has hypotheses, or the run reads
                detections and none are given.
        """
        decoding = run.config.decoding
        beam = decoding.beam_size if decoding.method == "beam" else 1
        self.name = run.name
        self._run, self._detections = run, list(detections)
        self._captions = min(beam, MOST_CAPTIONS) if captions is None else captions
        self._run.captioning.returning(self._captions)  # checks the number
        self.reads_concepts = _reads_concepts(run)
        self._reader: ImageReader | None = None
        self.by_detections = False
        try:
            self._reader = run.image_reader()
        except InputError:
            self.by_detections = bool(detections)
            if not detections and not self.reads_concepts:
                raise
        self.reads_images = self._reader is not None or self.by_detections
        self._maps = _word_maps(run)
        if self._reader is not None:  # so that the first caption is not delayed
            list(run.caption_images(image_sources(example_image()), self._reader,
                                    captions=self._captions))  # fmt: skip

    def caption_image(self, path: Path, name: str) -> GalleryItem:
        """Captions an image file; see `AppModel`."""
        image = ImageFile(normalize_name(name), path)
        reader = self._reader or self._run.image_reader([image], self._detections)
        ((found,),) = self._run.caption_images([image], reader, captions=self._captions)
        row = caption_row(found, self._run.config.decoding)
        maps = None
        if self._maps is not None and row["caption"]:
            maps = next(self._maps.of_images([(image, row["caption"])], reader))
        return row_item(row, path, maps)

    def caption_concepts(self, concepts: Sequence[str]) -> GalleryItem:
        """Captions concepts; see `AppModel`."""
        ((found,),) = self._run.caption_concepts([concepts], captions=self._captions)
        row = {"caption": "", **caption_keys(found[1], self._run.config.decoding)}
        return GalleryItem(
            image_id="",
            image=None,
            captions=captions_of_row(row),
            concepts=[(concept, None) for concept in concepts],
        )


def _reads_concepts(run: Run) -> bool:
    try:
        run.check_captions_concepts()
    except InputError:
        return False
    return True


def _word_maps(run: Run) -> WordMapReader | None:
    """Returns a reader of attention maps; None for a run that has none."""
    try:
        return WordMapReader(run)
    except InputError:
        return None
