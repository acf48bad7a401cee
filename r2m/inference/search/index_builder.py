"""Construction of indexes over folders of images and files of captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from r2m.inference.retrieval_run import RetrievalRun
from r2m.inference.search.approximate_search import import_faiss, write_approximate
from r2m.inference.search.model_binding import identity_of
from r2m.inference.search.vector_index import IndexWriter, Kind, VectorIndex, check_target
from tfrecords.core.errors import InputError
from tfrecords.core.progress import CountProgress
from tfrecords.core.shards import Skip
from tfrecords.formats.text.reading import plan_parts, read_part
from tfrecords.formats.text.sources import TextSource
from tfrecords.pictures.named_images import ImageFile, named_files

_AT_ONCE = 512
# Files of detections are read once per call.
_AT_ONCE_WITH_DETECTIONS = 1 << 14
_LISTED_SKIPS = 100


class BuiltIndex(NamedTuple):
    """A finished index.

    Attributes:
        opened: the opened index.
        skipped: reason -> number of skipped inputs.
    """

    opened: VectorIndex
    skipped: Counter[str]


def build_index(
    run: RetrievalRun,
    folder: str | Path,
    *,
    images: Sequence[Path] = (),
    captions: Sequence[TextSource] = (),
    recursive: bool = True,
    detections: Sequence[str] = (),
    approximate: bool = False,
    overwrite: bool = False,
) -> BuiltIndex:
    """Encodes images or captions and writes their vectors and display data.

    Unreadable images, and captions without a word in the vocabulary, are skipped and counted. A
    caption that occurs several times is indexed once.

    Args:
        run: the embedding.
        folder: folder of the index.
        images: folders, lists and image files, see `tfrecords.pictures.named_images.named_files`.
        captions: files of captions, see `tfrecords.formats.text.reading`.
        recursive: whether subfolders of a folder of images are searched.
        detections: see `RetrievalRun.encode_images`.
        approximate: whether to add a structure for approximate search (requires faiss-cpu).
        overwrite: whether an existing index may be replaced.

    Raises:
        InputError: both images and captions are given, or neither; an input is invalid; nothing can
            be encoded; an existing index may not be replaced; or faiss-cpu is not installed.
    """
    folder = Path(folder)
    if bool(images) == bool(captions):
        raise InputError("an index contains either images or captions: give --images or --captions")
    if approximate:
        import_faiss()
        if run.similarity != "cosine":
            raise InputError(
                f"{run.path} has {run.similarity} similarity: approximate search is for cosine "
                "similarity; leave out --approximate"
            )
    check_target(folder, overwrite)
    skips: list[Skip] = []
    counts: Counter[str] = Counter()
    kind: Kind = "images" if images else "captions"
    writer = IndexWriter(
        folder,
        kind=kind,
        size=run.size,
        similarity=run.similarity,
        model=identity_of(run),
        overwrite=overwrite,
    )
    with writer:
        if images:
            found = named_files(images, recursive=recursive)
            counts += found.passed_over
            _add_images(run, writer, found.files, detections, skips)
        else:
            _add_captions(run, writer, _distinct(captions, skips), skips)
        counts += Counter(skip.reason for skip in skips)
        about: dict[str, Any] = {
            "sources": [str(path) for path in images] + [str(own.path) for own in captions],
            "skipped": dict(counts),
            "skipped_list": [skip.__dict__ for skip in skips[:_LISTED_SKIPS]],
        }
        index = writer.finish(about, write_approximate if approximate else None)
    return BuiltIndex(index, counts)


def _add_images(
    run: RetrievalRun,
    writer: IndexWriter,
    files: Sequence[ImageFile],
    detections: Sequence[str],
    skips: list[Skip],
) -> None:
    with CountProgress("indexing", len(files), "images") as progress:
        for batch in _batches(files, _AT_ONCE_WITH_DETECTIONS if detections else _AT_ONCE):
            readable = []
            for file in batch:
                content = file.read()
                if isinstance(content, Skip):
                    skips.append(content)
                else:
                    readable.append(file)
            encoded, vectors = _encode_readable(run, readable, detections, skips)
            writer.add(
                vectors,
                [{"name": file.name, "path": str(file.path.absolute())} for file in encoded],
            )
            progress.add(len(batch))


def _encode_readable(
    run: RetrievalRun,
    files: Sequence[ImageFile],
    detections: Sequence[str],
    skips: list[Skip],
) -> tuple[Sequence[ImageFile], np.ndarray]:
    """Encodes the images that can be decoded; the others are added to `skips`.

    Raises:
        InputError: none of several can be encoded, so the cause is not a single image.
    """
    if not files:
        return files, np.zeros((0, run.size), np.float32)
    try:
        return files, run.encode_images([file.path for file in files], detections=detections)
    except InputError as error:
        first = error
    encoded, vectors, faults = [], [], []
    for file in files:
        try:
            vectors.append(run.encode_images([file.path], detections=detections))
            encoded.append(file)
        except InputError as error:
            faults.append(Skip(file.name, "unreadable", str(error)))
    if not encoded:
        raise first
    skips += faults
    return encoded, np.concatenate(vectors)


def _add_captions(
    run: RetrievalRun, writer: IndexWriter, captions: Sequence[str], skips: list[Skip]
) -> None:
    with CountProgress("indexing", len(captions), "captions") as progress:
        for batch in _batches(captions, _AT_ONCE):
            known = []
            for text in batch:
                if run.knows(text):
                    known.append(text)
                else:
                    detail = "all words are outside the vocabulary"
                    skips.append(Skip(text, "unknown_words", detail))
            if known:
                writer.add(run.encode_sentences(known), [{"text": text} for text in known])
            progress.add(len(batch))


def _distinct(sources: Sequence[TextSource], skips: list[Skip]) -> list[str]:
    """Returns the distinct captions of files, in order."""
    found: dict[str, None] = {}
    for source in sources:
        for part in plan_parts(source):
            for text in read_part(part):
                if isinstance(text, Skip):
                    skips.append(text)
                else:
                    found[" ".join(text.split())] = None
    return list(found)


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yields consecutive parts of up to `size` items."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
