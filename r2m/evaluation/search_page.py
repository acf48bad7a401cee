"""Results of searches as a table of text, as JSON, and as a page of HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from r2m.evaluation.html_page import PAGE_EDGE, html_page, image_tag, open_picture
from r2m.evaluation.output_files import write_whole

_STYLE = """
section { max-width: 1500px; margin: 0 auto; padding: 1.25rem 1.25rem 0; }
section h2 { font-size: 1.15rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
section main { padding: 0; }
.query img { max-height: 180px; width: auto; border-radius: 8px; margin-bottom: .6rem; }
"""


class SearchHit(NamedTuple):
    """An item that was found.

    Attributes:
        score: its similarity to the query.
        title: the name of an image, or a caption.
        image: path of the image; None of a caption.
    """

    score: float
    title: str
    image: Path | None = None


class SearchResult(NamedTuple):
    """A query with what it found.

    Attributes:
        title: the query.
        hits: nearest first.
        image: path of the image that was the query; None of a sentence.
    """

    title: str
    hits: Sequence[SearchHit]
    image: Path | None = None


def search_table(results: Sequence[SearchResult]) -> str:
    """Returns results as text: rank, score and title per line, under each query."""
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
    """Writes results as a page of HTML that contains its pictures.

    Args:
        file: the page.
        results: to show.
        facts: about the index, shown as a table on top.

    Raises:
        InputError: the disk is full.
    """
    sections = [
        f"<section>\n<h2>{escape(result.title)}</h2>\n{_query_image(result)}"
        f"<main>\n{''.join(_card(rank, hit) for rank, hit in enumerate(result.hits, 1))}</main>\n"
        "</section>"
        for result in results
    ]
    page = html_page(title="Search", facts=facts, body="\n".join(sections), style=_STYLE)
    return write_whole(file, page)


def _item(hit: SearchHit) -> dict[str, str]:
    if hit.image is None:
        return {"caption": hit.title}
    return {"image": hit.title, "path": str(hit.image)}


def _query_image(result: SearchResult) -> str:
    if result.image is None:
        return ""
    return f'<div class="query">{_shown(result.image, result.title)}</div>\n'


def _card(rank: int, hit: SearchHit) -> str:
    picture = "" if hit.image is None else _shown(hit.image, hit.title)
    caption = f'<p class="caption">{escape(hit.title)}</p>' if hit.image is None else ""
    name = "" if hit.image is None else escape(hit.title)
    return (
        f'<article>{picture}<div class="body">{caption}'
        f"<footer><span>{rank}. {name}</span><b>{hit.score:.3f}</b></footer></div></article>\n"
    )


def _shown(path: Path, description: str) -> str:
    picture = open_picture(path, PAGE_EDGE)
    if picture is None:
        return '<div class="missing">picture cannot be read</div>'
    return image_tag(picture, description)
