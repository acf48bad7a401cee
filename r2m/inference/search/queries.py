"""Queries of a search: sentences, images, and arithmetic with words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from r2m.inference.retrieval_run import RetrievalRun
from r2m.inference.search.vector_index import Kind
from tfrecords.core.errors import InputError


class Query(NamedTuple):
    """A query.

    Attributes:
        title: sentence or path of the image, with the words that were added and removed.
        kind: kind of its vector, `images` or `captions`.
        vector: float32[D].
        image: path of the image; None for a sentence.
    """

    title: str
    kind: Kind
    vector: np.ndarray
    image: Path | None = None


def make_queries(
    run: RetrievalRun,
    *,
    texts: Sequence[str] = (),
    images: Sequence[Path] = (),
    minus: Sequence[str] = (),
    plus: Sequence[str] = (),
    detections: Sequence[str] = (),
) -> list[Query]:
    """Encodes sentences and images.

    With `minus` and `plus`, the vector of each query is q - sum E(minus) + sum E(plus), normalized,
    as in section 4.3 of Kiros et al. 2014 (arXiv 1411.2539).

    Args:
        run: the embedding.
        texts: sentences.
        images: paths of image files.
        minus: words or phrases whose vectors are subtracted.
        plus: words or phrases whose vectors are added.
        detections: see `RetrievalRun.encode_images`.

    Raises:
        InputError: there is no query; a query is empty or has no word in the vocabulary; an image
            cannot be read; or words are to be added with order similarity.
    """
    if not texts and not images:
        raise InputError("an empty query: give a sentence or --image=FILE")
    check_sentences(run, texts)
    found = []
    if texts:
        vectors = run.encode_sentences(list(texts))
        found += [Query(text, "captions", own) for text, own in zip(texts, vectors, strict=True)]
    if images:
        vectors = run.encode_images(list(images), detections=detections)
        found += [
            Query(str(path), "images", own, path) for path, own in zip(images, vectors, strict=True)
        ]
    if not minus and not plus:
        return found
    shift = word_shift(run, minus, plus)
    words = " ".join([*(f"- {word}" for word in minus), *(f"+ {word}" for word in plus)])
    return [
        own._replace(title=f"{own.title} {words}", vector=_unit(own.vector + shift, own.title))
        for own in found
    ]


def word_shift(run: RetrievalRun, minus: Sequence[str], plus: Sequence[str]) -> np.ndarray:
    """Returns sum E(plus) - sum E(minus), float32[D]; see `make_queries` for errors."""
    if run.similarity != "cosine":
        raise InputError(
            f"{run.path}: words can be added and subtracted (--plus, --minus) only with "
            f"cosine similarity; this embedding has {run.similarity} similarity"
        )
    check_sentences(run, [*minus, *plus])
    vectors = run.encode_sentences([*minus, *plus])
    signs = np.array([-1.0] * len(minus) + [1.0] * len(plus), np.float32)
    return signs @ vectors


def check_sentences(run: RetrievalRun, texts: Sequence[str]) -> None:
    """Checks that each sentence has a word in the vocabulary.

    Raises:
        InputError: a sentence is empty, or all of its words are outside the vocabulary.
    """
    for text in texts:
        if not text.strip():
            raise InputError("an empty query: give a sentence")
        if not run.knows(text):
            raise InputError(
                f"the query {text!r} has no word among the {len(run.vocabulary):,} words of the "
                f"vocabulary of {run.path}: use other words"
            )


def _unit(vector: np.ndarray, title: str) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise InputError(f"the query {title!r} is zero after --minus and --plus: use other words")
    return vector / length
