"""Selection of generated captions to train on: pseudo-pairs of images and captions.

The captions that a model without pairs generates for its training images are noisy: detectors miss
objects and see false ones. Two signals need no reference. A caption is more likely to be right if
it agrees with the captions generated for similar images (consensus, Devlin et al. 2015, arXiv
1505.04467), and if it mentions the detected concepts and no others.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from losses.cider_d import CiderD
from pipelines.images import examples
from pipelines.similar_images import (
    SHARPNESS,
    similarity_weights,
    standardized_images,
)
from r2m.evaluation.output_files import write_whole
from r2m.inference.caption_log import LINES_FILE
from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_names
from tfrecords.core.progress import CountProgress
from tfrecords.core.records import CONCEPTS, Records, open_records
from tfrecords.core.text_files import numbered_lines, read_text
from tfrecords.formats.features.record_store import open_feature_records
from tfrecords.language.concepts import ConceptDictionary
from tfrecords.language.document_frequencies import count_ngrams


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """Options of the selection.

    Attributes:
        neighbors: number of similar images whose captions are used.
        sharpness: an image with cosine similarity s has the weight exp(sharpness * s).
        agreement: weight of the agreement with the detected concepts (0 to 1), which is added to
            the mean CIDEr-D with the captions of similar images (0 to 10).
        likelihood: weight of the score of the search, which is added, too.
        captions: number of captions kept per image.
        fraction: fraction of the images that are kept, those whose best captions have the highest
            values.
    """

    neighbors: int = 60
    sharpness: float = SHARPNESS
    agreement: float = 1.0
    likelihood: float = 0.2
    captions: int = 1
    fraction: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        for name in ("neighbors", "captions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("sharpness", "agreement", "likelihood"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be a number, not negative")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction={self.fraction} must be above 0 and at most 1")


class Candidates(NamedTuple):
    """The generated captions of an image.

    Attributes:
        name: name of the image.
        captions: its captions, the most likely one first.
        scores: score of each in the search.
        concepts: detected concepts of the image.
    """

    name: str
    captions: list[str]
    scores: list[float]
    concepts: frozenset[str]


class Selection(NamedTuple):
    """Summary of a selection.

    Attributes:
        images: number of images with captions.
        kept: number of images whose captions were kept.
        changed: number of kept images whose best caption is not the most likely one.
        distinct: number of distinct captions that were kept.
    """

    images: int
    kept: int
    changed: int
    distinct: int


def select_captions(
    generated: Path,
    records: Path,
    output: Path,
    options: SelectionOptions,
    *,
    split: str | None = None,
    neighbor_split: str | None = None,
) -> Selection:
    """Selects captions and writes them as JSON, a format of `r2m-build-captions`.

    Args:
        generated: output folder of `r2m-caption`, with one or several captions per image.
        records: `images` records of these images, with a vector per image and concepts.
        output: file to write: a list of `{"image_id", "caption", "value", "captions"}`, the best
            caption first. It can be scored like any file of predictions, too.
        options: options of the selection.
        split: split of the records whose images are selected; None for all images with captions.
        neighbor_split: split whose images are the similar ones; None for those of `split`.

    Raises:
        InputError: a file is missing or damaged, an image is not in the records, the records lack
            vectors or a split, or there are too few images.
    """
    found = read_generated(generated)
    opened = open_records(records, kind="images")
    candidates = _of_split(found, opened, split)
    others = _of_split(found, opened, neighbor_split) if neighbor_split else candidates
    store = open_feature_records(records)
    names = [one.name for one in others]
    images = standardized_images(names, store.vectors(names), [])
    if options.neighbors >= len(others):
        raise InputError(
            f"{generated} has captions of {len(others)} images: {options.neighbors} neighbors "
            "require more; give a smaller --neighbors"
        )
    if others is candidates:
        similar = images.neighbors(options.neighbors)
    else:
        # One more, because an image may be among the others itself.
        similar = images.nearest(
            store.vectors([one.name for one in candidates]), options.neighbors + 1
        )
    dictionary = ConceptDictionary.from_json(
        read_text(records / CONCEPTS, "concept dictionary"), str(records / CONCEPTS)
    )
    value = _Values(candidates, others, dictionary, options)
    values: list[np.ndarray] = []
    with CountProgress("selecting captions", len(candidates), "images") as progress:
        for nearest, likeness in similar:
            for own, similarities in zip(nearest, likeness, strict=True):
                values.append(value(len(values), own, similarities))
            progress.add(len(nearest))
    return _write(output, candidates, values, options)


def read_generated(folder: Path) -> list[Candidates]:
    """Reads the captions in an output folder of `r2m-caption`; images without caption are left out.

    Raises:
        InputError: the folder has no captions, or a line is damaged.
    """
    path = folder / LINES_FILE
    if not path.is_file():
        raise InputError(f"{folder} has no {LINES_FILE}: give an output folder of r2m-caption")
    found = []
    for number, line in numbered_lines(path, "file of generated captions"):
        try:
            row = json.loads(line)
            rows = row.get("captions", [row])
            captions = [one["caption"] for one in rows if one["caption"]]
            scores = [float(one["score"]) for one in rows if one["caption"]]
            concepts = frozenset(one["word"] for one in row.get("concepts", ()))
            name = str(row["image_id"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}:{number}: not a line of r2m-caption ({type(error).__name__}: {error}); "
                "give that command again with --overwrite"
            ) from error
        if captions:
            found.append(Candidates(name, captions, scores, concepts))
    if not found:
        raise InputError(f"{path} contains no caption")
    return found


class _Values:
    """Computes the values of an image's captions."""

    def __init__(
        self,
        candidates: Sequence[Candidates],
        references: Sequence[Candidates],
        dictionary: ConceptDictionary,
        options: SelectionOptions,
    ) -> None:
        self._options, self._dictionary = options, dictionary
        ids: defaultdict[str, int] = defaultdict(lambda: len(ids))

        def encode(caption: str) -> np.ndarray:
            # 0 is the end marker, which counts as a word in CIDEr-D.
            return np.array([*(ids[word] + 1 for word in caption.split()), 0], np.int64)

        self._candidates, self._names = candidates, [one.name for one in references]
        self._encoded = [[encode(caption) for caption in one.captions] for one in candidates]
        # Only the most likely caption of an image counts as a reference.
        self._references = [encode(one.captions[0]) for one in references]
        frequencies = count_ngrams(
            ((words, np.array([len(words)])) for words in self._references), vocabulary_sha256=""
        )
        self._reward = CiderD(frequencies.lookup, frequencies.images)

    def __call__(self, place: int, nearest: np.ndarray, likeness: np.ndarray) -> np.ndarray:
        """Returns the values float64[N] of the N captions of an image."""
        options, own = self._options, self._candidates[place]
        other = [i for i, image in enumerate(nearest) if self._names[image] != own.name]
        nearest, likeness = (rows[other[: options.neighbors]] for rows in (nearest, likeness))
        references = [self._references[other] for other in nearest]
        similarities = self._reward.similarities(self._encoded[place], references)
        weights = similarity_weights(likeness, options.sharpness)
        consensus = np.average(similarities, axis=1, weights=weights)
        agreement = [self._agreement(caption, own.concepts) for caption in own.captions]
        return np.asarray(
            consensus
            + options.agreement * np.array(agreement)
            + options.likelihood * np.array(own.scores)
        )

    def _agreement(self, caption: str, detected: frozenset[str]) -> float:
        """Returns the number of concepts in both caption and image, divided by that in either."""
        mentioned = {mention.concept for mention in self._dictionary.find(caption.split())}
        either = len(mentioned | detected)
        return len(mentioned & detected) / either if either else 1.0


def _of_split(found: Sequence[Candidates], records: Records, split: str | None) -> list[Candidates]:
    """Returns the images of a split; raises `InputError` if there are none."""
    if split is None:
        return list(found)
    if split not in records.splits:
        raise InputError(
            f"{records.folder}: no split {split!r}; known: {', '.join(records.splits)}"
        )
    names = {example["image_id"] for example in examples(records, split)}
    chosen = [one for one in found if one.name in names]
    if not chosen:
        raise InputError(
            f"none of the captioned images ({describe_names([one.name for one in found])}) is in "
            f"split {split!r} of {records.folder}, which has {describe_names(sorted(names))}"
        )
    return chosen


def _write(
    output: Path,
    candidates: Sequence[Candidates],
    values: Sequence[np.ndarray],
    options: SelectionOptions,
) -> Selection:
    kept = max(1, round(options.fraction * len(candidates)))
    best = np.argsort([-own.max() for own in values], kind="stable")[:kept]
    rows: list[dict[str, Any]] = []
    changed = 0
    for place in sorted(best.tolist()):
        order = np.argsort(-values[place], kind="stable")[: options.captions]
        captions = [candidates[place].captions[rank] for rank in order]
        changed += bool(order[0] != 0)
        rows.append(
            {
                "image_id": candidates[place].name,
                "caption": captions[0],
                "value": round(float(values[place].max()), 4),
                "captions": captions,
            }
        )
    write_whole(output, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    distinct = len({caption for row in rows for caption in row["captions"]})
    return Selection(len(candidates), len(rows), changed, distinct)
