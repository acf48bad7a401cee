"""Results of searches as a text table, as JSON, and as an HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from r2m.evaluation.output_files import write_whole
from r2m.evaluation.pages.pictures import Thumbnail, make_thumbnail
from r2m.evaluation.pages.templates import render_page


class SearchHit(NamedTuple):
    """An item that was found.

    Attributes:
        score: similarity to the query.
        title: name of an image, or a caption.
        image: path of the image; None for a caption.
    """

    score: float
    title: str
    image: Path | None = None


class SearchResult(NamedTuple):
    """A query with its results.

    Attributes:
        title: the query.
        hits: items found, nearest first.
        image: path of the query image; None for a sentence.
    """

    title: str
    hits: Sequence[SearchHit]
    image: Path | None = None


def search_table(results: Sequence[SearchResult]) -> str:
    """Returns results as text: lines of rank, score and title below each query."""
    lines = []
    for result in results:
        lines.append(result.title)
        lines += [
            f"{rank:>5}  {hit.score:7.4f}  {hit.title}" for rank, hit in enumerate(result.hits, 1)
        ]
        lines.append("")
    return "\n".join(lines)


def search_json(results: Sequence[SearchResult]) -> list[dict[str, Any]]:
    """Returns results as plain data."""
    return [
        {
            "query": result.title,
            "hits": [
                {"rank": rank, "score": hit.score, **_item(hit)}
                for rank, hit in enumerate(result.hits, 1)
            ],
        }
        for result in results
    ]


def write_search_page(
    file: str | Path, results: Sequence[SearchResult], facts: Mapping[str, Any]
) -> Path:
    """Writes results as an HTML page that contains its pictures.

    Args:
        file: file of the page.
        results: results to show.
        facts: facts about the index, shown as a table at the top.

    Raises:
        InputError: the disk is full.
    """
    shown = [
        {
            "title": result.title,
            "image": result.image,
            "picture": _picture(result.image),
            "hits": shown_hits(result),
        }
        for result in results
    ]
    page = render_page("search.html", title="Search", facts=facts, results=shown)
    return write_whole(file, page)


def shown_hits(result: SearchResult) -> list[dict[str, Any]]:
    """Returns the hits of a result with ranks and pictures, for `search_hits.html`."""
    return [
        {**hit._asdict(), "rank": rank, "picture": _picture(hit.image)}
        for rank, hit in enumerate(result.hits, 1)
    ]


def _item(hit: SearchHit) -> dict[str, str]:
    if hit.image is None:
        return {"caption": hit.title}
    return {"image": hit.title, "path": str(hit.image)}


def _picture(path: Path | None) -> Thumbnail | None:
    return None if path is None else make_thumbnail(path)
