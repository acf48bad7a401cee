"""Searches an index of images or captions by sentences and images.

    r2m-search --index=workspace/indexes/photographs "a dog on a beach"

By an image, and by an image with words exchanged:

    r2m-search --index=workspace/indexes/photographs --image=city.jpg

    r2m-search --index=workspace/indexes/photographs --image=city.jpg --minus=day --plus=night

With a page of the pictures and results.json:

    r2m-search --index=workspace/indexes/photographs "a dog on a beach" "two cats" \\
        --output=workspace/searches
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from r2m.cli import image_flags
from r2m.cli.flag_groups import INPUT, MODEL, OUTPUT
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.value_flags import define_choice, define_switch, define_text, define_texts

_INDEX = define_text(
    "index",
    None,
    "Folder of the index, made by r2m-build-index.",
    required=True,
    group=INPUT,
    value="FOLDER",
)
_IMAGE = define_texts(
    "image",
    None,
    "An image file to search by. May be given several times.",
    group=INPUT,
    value="FILE",
)
_MINUS = define_texts(
    "minus",
    None,
    "A word or phrase whose vector is subtracted from each query. May be given several times.",
    group=INPUT,
    value="WORDS",
)
_PLUS = define_texts(
    "plus",
    None,
    "A word or phrase whose vector is added to each query. May be given several times.",
    group=INPUT,
    value="WORDS",
)
_RUN = define_text(
    "run",
    None,
    "Run folder of the model that made the index. Default: its location at that time.",
    group=MODEL,
    value="FOLDER",
)
_DETECTIONS = image_flags.define_detections()
_WEIGHTS = image_flags.define_weights("Default: that of the index.")
_COUNT = define_whole("count", 5, "Number of items to find per query.", least=1, group=OUTPUT)
_RERANK = define_switch(
    "rerank",
    False,
    "Rerank the items found by their similarity to the mean of the items found.",
    group=OUTPUT,
)
_APPROXIMATE = define_switch(
    "approximate",
    False,
    "Search approximately, in an index that was built with --approximate. Requires faiss-cpu.",
    group=MODEL,
)
_PROBES = define_whole(
    "probes",
    32,
    "Cells that an approximate search visits; more cells find more of the nearest items.",
    least=1,
    group=MODEL,
)
_FORMAT = define_choice("format", "table", ("table", "json"), "Output format.", group=OUTPUT)
_OUTPUT = define_text(
    "output",
    None,
    "Folder to write results.json and index.html to, a page with the pictures.",
    group=OUTPUT,
    value="FOLDER",
)


def main(argv: Sequence[str]) -> None:
    """Searches the index and prints the results."""
    from r2m.evaluation.output_files import prepare_output, write_whole
    from r2m.evaluation.pages.search_page import search_json, search_table, write_search_page
    from r2m.inference.search.model_binding import open_index
    from r2m.inference.search.queries import make_queries
    from r2m.inference.search.searching import page_results, search_index

    output = None if _OUTPUT.value is None else prepare_output(_OUTPUT.value)
    index, model = open_index(_INDEX.value, _RUN.value, _WEIGHTS.value)
    queries = make_queries(
        model,
        texts=argv[1:],
        images=[Path(path) for path in _IMAGE.value or ()],
        minus=_MINUS.value or (),
        plus=_PLUS.value or (),
        detections=_DETECTIONS.value or (),
    )
    found = search_index(
        index,
        queries,
        _COUNT.value,
        rerank=_RERANK.value,
        approximate=_APPROXIMATE.value,
        probes=_PROBES.value,
    )
    results = page_results(found)
    text = json.dumps(search_json(results), indent=2, ensure_ascii=False)
    print(text if _FORMAT.value == "json" else search_table(results))
    if output is not None:
        write_whole(output / "results.json", text + "\n")
        page = write_search_page(output / "index.html", results, index.facts())
        if _FORMAT.value == "table":
            print(f"page: {page}")


def console() -> None:
    """Runs the command as a console script."""
    run(main, arguments="[SENTENCE ...]")


if __name__ == "__main__":
    console()
