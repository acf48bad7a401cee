"""HTML page and Markdown report of a comparison of runs, with the images on which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from r2m.evaluation.comparison.compared_runs import ComparedRuns
from r2m.evaluation.comparison.comparison_tables import comparison_tables, markdown_table
from r2m.evaluation.comparison.reference_images import Pictures
from r2m.evaluation.output_files import write_whole
from r2m.evaluation.pages.gallery import FILES, write_gallery
from r2m.evaluation.pages.gallery_items import GalleryItem, ScoreFormat, ShownCaption
from r2m.evaluation.report import markdown_cell

MARKDOWN = "comparison.md"
_EXAMPLES = 5  # wins and losses of a run in the Markdown


def write_comparison(
    folder: Path | str,
    found: ComparedRuns,
    *,
    title: str,
    pictures: Pictures,
    most: int,
    single_file: bool = False,
) -> tuple[Path, Path]:
    """Writes `index.html`, a gallery with the tables of the comparison, and `comparison.md`.

    Args:
        folder: output folder; created if it does not exist.
        found: the comparison.
        title: its heading.
        pictures: finds the pictures of images by their names.
        most: maximum number of images on the page: those on which the runs differ most.
        single_file: whether the page contains its pictures.

    Returns:
        The paths of the page and of the Markdown file.

    Raises:
        InputError: the disk is full.
    """
    folder = Path(folder)
    tables = comparison_tables(found)
    shown = most_different(found, most)
    count = len(found.names)
    own = pictures([found.names[place] for place in shown])
    facts = {
        "runs": len(found.runs),
        "images": count,
        "tokenizer": found.scores[0].tokenizer,
        **{f"left out of {name}": f"{left} images" for name, left in found.left_out.items()},
    }
    some = f"The page shows {len(shown)} of {count} images, on which the runs differ most."
    # The Markdown is written last, when the pictures that it names exist.
    page = write_gallery(
        folder,
        (_item(found, place, own) for place in shown),
        title=title,
        note=some if len(shown) < count else "",
        settings={name: value for name, value in facts.items() if name != "images"},
        scores=_formats(found),
        single_file=single_file,
        links=[MARKDOWN],
        template="comparison.html",
        tables=tables,
    )
    lines = [f"# {markdown_cell(title)}", "", *_facts(facts)]
    lines += [line for table in tables for line in markdown_table(table)]
    lines += _examples(found, shown, None if single_file else folder)
    return page, write_whole(folder / MARKDOWN, "\n".join(lines).rstrip() + "\n")


def most_different(found: ComparedRuns, most: int) -> list[int]:
    """Returns indices of at most `most` images, in order of decreasing difference of scores."""
    if found.cider is None:
        return list(range(min(most, len(found.names))))
    spread = found.cider.max(axis=0) - found.cider.min(axis=0)
    return [int(place) for place in np.argsort(-spread, kind="stable")[:most]]


def _formats(found: ComparedRuns) -> dict[str, ScoreFormat]:
    first = found.runs[0].name
    return {
        f"difference_{place}": ScoreFormat(f"CIDEr: {run.name} − {first}", 100, 1)  # noqa: RUF001
        for place, run in enumerate(found.runs)
        if place
    }


def _item(found: ComparedRuns, place: int, pictures: Mapping[str, bytes | Path]) -> GalleryItem:
    name = found.names[place]
    cider = None if found.cider is None else found.cider[:, place]
    captions = [
        ShownCaption(
            text=found.captions[number][place],
            source=run.name,
            scores={
                "cider": None if cider is None else float(cider[number]),
                "confidence": found.confidences[number][place],
            },
        )
        for number, run in enumerate(found.runs)
    ]
    scores, groups = {}, []
    if cider is not None:
        scores = {f"difference_{k}": float(cider[k] - cider[0]) for k in range(1, len(cider))}
        best = [k for k in range(len(cider)) if np.isclose(cider[k], cider.max(), atol=1e-9)]
        groups = ["all equal" if len(best) == len(cider) else f"best: {found.runs[best[0]].name}"]
        if 1 < len(best) < len(cider):
            groups = [f"best: {found.runs[k].name}" for k in best]
    return GalleryItem(
        image_id=name,
        image=pictures.get(name),
        captions=captions,
        references=found.references[place],
        scores=scores,
        groups=groups,
    )


def _facts(facts: dict[str, object]) -> list[str]:
    lines = ["| | |", "|---|---|"]
    lines += [
        f"| {markdown_cell(name)} | {markdown_cell(value)} |" for name, value in facts.items()
    ]
    return [*lines, ""]


def _examples(found: ComparedRuns, shown: Sequence[int], folder: Path | None) -> list[str]:
    """Returns the largest wins and losses of each run against the first one, in Markdown.

    Args:
        found: the comparison.
        shown: indices of the images of the page, in order.
        folder: folder of the page with its pictures as files; None if they are not files.
    """
    if found.cider is None:
        return []
    lines: list[str] = []
    number_of = {place: number for number, place in enumerate(shown)}
    for run in range(1, len(found.runs)):
        differences = found.cider[run] - found.cider[0]
        order = np.argsort(-differences, kind="stable")
        wins = [int(p) for p in order[:_EXAMPLES] if differences[p] > 0]
        losses = [int(p) for p in order[::-1][:_EXAMPLES] if differences[p] < 0]
        for which, places in (("wins", wins), ("losses", losses)):
            if not places:
                continue
            names = [markdown_cell(found.runs[k].name) for k in (run, 0)]
            lines += [f"## Largest {which} of {names[0]} against {names[1]}", ""]
            lines += [f"| image | CIDEr difference x100 | {names[0]} | {names[1]} | a reference |"]
            lines += ["|---|---:|---|---|---|"]
            for place in places:
                cells = [
                    _picture_cell(found.names[place], number_of.get(place), folder),
                    f"{100 * differences[place]:+.1f}",
                    *(markdown_cell(found.captions[k][place]) for k in (run, 0)),
                    markdown_cell(found.references[place][0]),
                ]
                lines.append("| " + " | ".join(cells) + " |")
            lines.append("")
    return lines


def _picture_cell(name: str, number: int | None, folder: Path | None) -> str:
    """Returns an image with its name, or only its name if it has no file."""
    text = markdown_cell(name)
    url = f"{FILES}/{number:06d}.jpg" if number is not None else ""
    if folder is None or not url or not (folder / url).is_file():
        return text
    return f"![{text}]({url}) {text}"
