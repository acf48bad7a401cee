"""Exported models as models of the app."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from pipelines.inputs.pixels import Pixels
from r2m.evaluation.pages.gallery_items import GalleryItem, ShownCaption, WordMaps
from r2m.inference.attention_maps import visible_fractions
from r2m.serving.companions import CONFIG
from r2m.serving.loaded_export import LoadedExport
from r2m.serving.rest_contract import DEFAULT_SIGNATURE, items_of
from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.pictures.batch_decoding import OK
from tfrecords.pictures.headers import read_header
from tfrecords.pictures.image_files import read_file

_CONCEPTS = "from_concepts"
_ATTENTION = "attention"
_SCORES = {"score": "scores", "log_probability": "log_probabilities", "confidence": "confidences"}


class ExportModel:
    """An exported model that captions images or concepts (an `AppModel`)."""

    def __init__(self, export: LoadedExport, captions: int | None) -> None:
        """Reads from `config.json` which part of an image the model reads.

        Args:
            export: the model.
            captions: maximum number per image; None: all that the graph returns.

        Raises:
            InputError: the model does not caption images or concepts.
        """
        self.name = export.name
        self._signatures, self._captions = export.signatures, captions
        self.reads_images = export.captions_images
        self.reads_concepts = _CONCEPTS in export.signatures
        if not self.reads_images and not self.reads_concepts:
            found = ", ".join(sorted(export.signatures))
            raise InputError(
                f"{export.folder} captions neither image bytes nor concepts (its signatures are "
                f"{found}): give another --model"
            )
        self._visible = _visible_part(export.folder / CONFIG)

    def caption_image(self, path: Path, name: str) -> GalleryItem:
        """Captions an image file; see `AppModel`."""
        data = read_file(path, name)
        if isinstance(data, Skip):
            return GalleryItem(image_id=name, image=path, note=f"cannot be read: {data.detail}")
        images = np.array([data], object)
        found = self._answer(DEFAULT_SIGNATURE, {"images": images})
        if found["status"] != OK:
            detail = found["status"].partition(": ")[2]
            return GalleryItem(image_id=name, image=path, note=f"cannot be read: {detail}")
        scores = found.get("concept_scores") or [None] * len(found.get("concepts", ()))
        concepts = zip(found.get("concepts", ()), scores, strict=True)
        return GalleryItem(
            image_id=name,
            image=path,
            captions=self._shown(found),
            concepts=[(word, score) for word, score in concepts if word],
            attention=self._attention(images, data),
        )

    def caption_concepts(self, concepts: Sequence[str]) -> GalleryItem:
        """Captions concepts; see `AppModel`."""
        row = np.array([[concept.encode() for concept in concepts]], object)
        lengths = np.array([len(concepts)], np.int32)
        found = self._answer(_CONCEPTS, {"concepts": row, "concept_lengths": lengths})
        if found["status"] != OK:
            raise InputError(found["status"])
        return GalleryItem(
            image_id="",
            image=None,
            captions=self._shown(found),
            concepts=[(concept, None) for concept in concepts],
        )

    def _answer(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        (item,) = items_of(self._signatures[signature].function(inputs))
        return item

    def _shown(self, found: Mapping[str, Any]) -> list[ShownCaption]:
        """Returns the captions of an item; the search may have found fewer than the graph has."""
        texts = found["captions"][: self._captions]
        return [
            ShownCaption(
                text=text, scores={name: found[column][place] for name, column in _SCORES.items()}
            )
            for place, text in enumerate(texts)
            if text or not place
        ]

    def _attention(self, images: np.ndarray, data: bytes) -> WordMaps | None:
        """Returns the maps of the best caption; None if the model has none over a grid."""
        if self._visible is None or _ATTENTION not in self._signatures:
            return None
        signature = self._signatures[_ATTENTION]
        if list(signature.inputs) != ["images"]:
            return None
        found = signature.function({"images": images})
        weights = found["attention"][0]
        words = [word.decode() for word in found["words"][0] if word]
        if weights.ndim != 3 or not words:
            return None
        header = read_header(data)
        part = visible_fractions(header.height, header.width, *self._visible)
        return WordMaps(words, weights[: len(words)], part)


def _visible_part(file: Path) -> tuple[Pixels | None, dict[str, Any] | None] | None:
    """Returns how the model crops images, see `visible_box`; None if unknown."""
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        config = ml_collections.ConfigDict(settings["runs"][0]["config"])
        if "image" in config and config.image.source == "pixels":
            (pixels,) = Pixels.candidates(config)
            assert isinstance(pixels, Pixels)
            return pixels, None
        return None, settings["features"]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
