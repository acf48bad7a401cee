"""Serves a page for browsers that captions images and searches an index of images.

    r2m-app --run=workspace/runs/updown/cross_entropy

Several models to choose from, runs and exports, and a tab for searches:

    r2m-app --run=workspace/runs/updown/cross_entropy --model=workspace/exports/att2in2 \\
        --index=workspace/indexes/photographs

The page loads nothing from other hosts and reports nothing to anyone. It is reachable on this
machine only. It has no authentication or encryption: with --host, use a proxy that adds both. Load
exports of people you trust only, since a graph is a program.
"""

from __future__ import annotations

from collections.abc import Sequence

from r2m.cli import image_flags, listening_flags
from r2m.cli.decoding_flags import decoding_overrides, define_decoding_flags
from r2m.cli.flag_groups import DECODING, INPUT, MODEL, REQUESTS
from r2m.cli.launch import run
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.value_flags import define_text, define_texts
from r2m.configuration.limits import MOST_BEAMS

_RUN = define_texts(
    "run",
    None,
    "Run folder of a stage or an experiment to caption with, as for r2m-caption. May be given "
    "several times; the page then offers a choice of models.",
    group=MODEL,
    value="FOLDER",
)
_MODEL = define_texts(
    "model",
    None,
    "Folder of an exported model (r2m-export), or of one of its versions. May be given several "
    "times, and together with --run.",
    group=MODEL,
    value="FOLDER",
)
_INDEX = define_text(
    "index",
    None,
    "Folder of an index of images or captions, made by r2m-build-index, to search by sentences.",
    group=INPUT,
    value="FOLDER",
)
_EMBEDDING = define_text(
    "embedding",
    None,
    "Run folder of the model that made the index. Default: its location at that time.",
    group=MODEL,
    value="FOLDER",
)
_DETECTIONS = define_texts(
    "detections",
    None,
    "FILE[,...]: detections in the images, as for r2m-caption, for runs of R2M and "
    "captioners of detected regions. Images are matched by file name. Without it, R2M captions "
    "concepts that the user types.",
    group=INPUT,
    value="PATH[,...]",
)
_WEIGHTS = image_flags.define_weights()
_CAPTIONS = define_whole(
    "captions",
    None,
    "Captions per image, best first; at most --beam_size with beam search. Default: all "
    "that the search finds, at most 5.",
    least=1,
    most=MOST_BEAMS,
    group=DECODING,
)
_MEGABYTES = define_number(
    "max_upload_megabytes", 32, "Maximum size of an image file.", above=0, most=2000, group=REQUESTS
)
_HOST = listening_flags.define_host()
_PORT = listening_flags.define_port(7860)
define_decoding_flags()

_SECONDS = 1.0  # for which an open page may delay the end of the app


def main(argv: Sequence[str]) -> None:
    """Loads the models and serves the page until it is stopped."""
    from r2m.serving.app.hosting import make_app, private_gradio
    from r2m.serving.extra import importing
    from tfrecords.core.errors import InputError

    del argv
    if not (_RUN.value or _MODEL.value or _INDEX.value):
        raise InputError("nothing to show: give --run, --model or --index")
    if _EMBEDDING.value and not _INDEX.value:
        raise InputError("--embedding requires --index")
    with private_gradio():
        with importing("app"):
            from r2m.serving.app.page import SearchedIndex, make_page
            from r2m.serving.listening import bind, serve, url_of
        from r2m.inference.search.model_binding import open_index
        from r2m.serving.app.app_models import load_models

        bound = bind(_HOST.value, _PORT.value)
        models = load_models(
            _RUN.value or (),
            _MODEL.value or (),
            captions=_CAPTIONS.value,
            detections=_DETECTIONS.value or (),
            weights=_WEIGHTS.value,
            decoding=decoding_overrides(),
        )
        searched = None
        if _INDEX.value:
            searched = SearchedIndex(*open_index(_INDEX.value, _EMBEDDING.value))
        page = make_page(models, searched)
        app = make_app(page, _HOST.value, round(_MEGABYTES.value * 1_000_000))

        def started() -> None:
            print(f"open {url_of(bound)} in a browser; Ctrl-C ends it", flush=True)

        serve(app, bound, _SECONDS, started)
    print("stopped")


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
