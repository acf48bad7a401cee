"""Python interface of visual-semantic embeddings, with the function names of Kiros' code.

    import r2m

    model = r2m.load("workspace/runs/vse")
    vectors = r2m.encode_sentences(model, captions)
    print(r2m.retrieve_captions(model, captions, vectors, "dog.jpg"))

The original is github.com/ryankiros/visual-semantic-embedding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tfrecords.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from r2m.inference.retrieval_run import RetrievalRun
    from r2m.inference.search.queries import Query
    from r2m.inference.search.vector_index import Kind

BATCH_SIZE = 128

Item = TypeVar("Item")
AnyPath = str | os.PathLike[str]


def encode_sentences(
    model: RetrievalRun, texts: Sequence[str], batch_size: int = BATCH_SIZE
) -> np.ndarray:
    """Encodes sentences.

    Args:
        model: model returned by `r2m.load`.
        texts: N sentences.
        batch_size: sentences per batch.

    Returns:
        float32[N, D], in the order of the sentences.

    Raises:
        InputError: a sentence is empty or has no word in the vocabulary.
    """
    from r2m.inference.search.queries import check_sentences

    check_sentences(model, texts)
    return model.encode_sentences(list(texts), batch_size=batch_size)


def encode_images(
    model: RetrievalRun, images: Sequence[AnyPath], batch_size: int = BATCH_SIZE
) -> np.ndarray:
    """Encodes image files.

    Args:
        model: model returned by `r2m.load`.
        images: N paths.
        batch_size: images per batch.

    Returns:
        float32[N, D], in the order of the images.

    Raises:
        InputError: an image cannot be read.
    """
    return model.encode_images([Path(path) for path in images], batch_size=batch_size)


def evalrank(
    model: RetrievalRun | Sequence[RetrievalRun], records: AnyPath, split: str = "val"
) -> dict[str, float]:
    """Evaluates an embedding, or the averaged similarities of several, on caption records.

    Args:
        model: model returned by `r2m.load`, or several.
        records: folder of records made by r2m-build-captions.
        split: split of the records.

    Returns:
        The metrics of `r2m.evaluation.retrieval.retrieval_metrics` over all images of the split.

    Raises:
        InputError: see `retrieval_metrics`; or the split does not exist.
    """
    from r2m.evaluation.retrieval import metrics_of_ranks, retrieval_ranks
    from r2m.inference.retrieval_evaluation import encode_split
    from tfrecords.core.records import open_records

    opened = open_records(Path(records))
    models = list(model) if isinstance(model, Sequence) else [model]
    encoded = [encode_split(own, opened, split) for own in models]
    return metrics_of_ranks(retrieval_ranks([own.member for own in encoded], encoded[0].owners))


def retrieve_captions(
    model: RetrievalRun,
    captions: Sequence[str],
    caption_vectors: np.ndarray,
    image: AnyPath,
    k: int = 5,
) -> list[str]:
    """Finds the captions that are nearest to an image.

    Args:
        model: model returned by `r2m.load`.
        captions: N captions.
        caption_vectors: float[N, D], their vectors by `encode_sentences`.
        image: path of the image.
        k: number of captions to find.

    Returns:
        Captions, nearest first.

    Raises:
        InputError: the image cannot be read, or the vectors do not fit.
    """
    from r2m.inference.search.queries import make_queries

    (query,) = make_queries(model, images=[Path(image)])
    rows = _nearest(model, captions, caption_vectors, "captions", query, k)
    return [captions[row] for row in rows]


def retrieve_images(
    model: RetrievalRun,
    images: Sequence[Item],
    image_vectors: np.ndarray,
    sentence: str,
    k: int = 5,
) -> list[Item]:
    """Finds the images that are nearest to a sentence.

    Args:
        model: model returned by `r2m.load`.
        images: N names, paths or other objects that represent the images.
        image_vectors: float[N, D], their vectors by `encode_images`.
        sentence: the query.
        k: how many images to find.

    Returns:
        Elements of `images`, nearest first.

    Raises:
        InputError: the sentence is empty or has no word in the vocabulary, or the vectors do not
            match.
    """
    from r2m.inference.search.queries import make_queries

    (query,) = make_queries(model, texts=[sentence])
    rows = _nearest(model, images, image_vectors, "images", query, k)
    return [images[row] for row in rows]


def regularities(
    model: RetrievalRun,
    images: Sequence[Item],
    image_vectors: np.ndarray,
    image: AnyPath,
    negword: str,
    posword: str,
    k: int = 5,
    rerank: bool = False,
) -> tuple[list[Item], list[int]]:
    """Finds the images that are nearest to an image, less one word and with another one.

    The query is v - E(negword) + E(posword), normalized (Kiros et al. 2014, section 4.3). It works
    best with embeddings of bags of words.

    Args:
        model: model returned by `r2m.load`, with cosine similarity.
        images: N names, captions or other objects that represent the images.
        image_vectors: float[N, D], their vectors by `encode_images`.
        image: path of the image.
        negword: word or phrase to subtract.
        posword: word or phrase to add.
        k: how many images to find.
        rerank: whether to reorder the images found by the inner product with their mean vector.

    Returns:
        Elements of `images`, nearest first, and their rows.

    Raises:
        InputError: a word is unknown, the image cannot be read, or the vectors do not match.
    """
    import numpy as np

    from r2m.inference.search.queries import make_queries

    (query,) = make_queries(model, images=[Path(image)], minus=[negword], plus=[posword])
    rows = _nearest(model, images, image_vectors, "images", query, k)
    if rerank:
        found = np.asarray(image_vectors)[rows]
        rows = rows[np.argsort(-(found @ found.mean(axis=0)), kind="stable")]
    return [images[row] for row in rows], [int(row) for row in rows]


def _nearest(
    model: RetrievalRun,
    items: Sequence[object],
    vectors: np.ndarray,
    kind: Kind,
    query: Query,
    count: int,
) -> np.ndarray:
    """Returns the rows int64[K] of the vectors that are nearest to a query."""
    import numpy as np

    from r2m.inference.search.exact_search import search_exactly
    from r2m.inference.search.searching import comparison

    vectors = np.asarray(vectors, np.float32)
    if vectors.shape != (len(items), model.size):
        raise InputError(
            f"vectors of shape {list(vectors.shape)} for {len(items)} {kind}: expected "
            f"[{len(items)}, {model.size}], as {model.path} encodes them"
        )
    if count < 1:
        raise InputError(f"k={count}: must be at least 1")
    compare = comparison(model.similarity, query.kind, kind, unit=False)
    return search_exactly(vectors, query.vector[None], count, compare).rows[0]
