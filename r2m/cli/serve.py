"""Serves exported models over HTTP: captions for images, and TensorFlow Serving's REST interface.

    r2m-serve --model=workspace/exports/updown

An image, and several at once:

    curl --data-binary @dog.jpg http://127.0.0.1:8501/caption
    curl -F image=@dog.jpg -F image=@cat.jpg http://127.0.0.1:8501/caption

Any signature, as in TensorFlow Serving:

    curl http://127.0.0.1:8501/v1/models/updown/metadata
    curl http://127.0.0.1:8501/v1/models/updown:predict \\
        -d "{\\"instances\\": [{\\"b64\\": \\"$(base64 -w0 dog.jpg)\\"}]}"

/healthz responds when the server is ready, /metrics is for Prometheus. After Ctrl-C or SIGTERM the
server answers the accepted requests and ends.

The server has no authentication or encryption: with --host, use a proxy that adds both. Graphs with
operations that read or write files or call Python are rejected. Still, a graph is a program, which
may run forever: serve only models from people you trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r2m.cli import listening_flags
from r2m.cli.flag_groups import MACHINE, MODEL, REQUESTS
from r2m.cli.launch import run
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.value_flags import define_list, define_texts

_MODEL = define_texts(
    "model",
    None,
    "Folder of an exported model (r2m-export), whose name is the model's name, or of one of its "
    "versions. May be given several times; the first one serves /caption unless a request names "
    "another one (/caption?model=NAME).",
    required=True,
    group=MODEL,
    value="FOLDER",
)
_VERSIONS = define_list(
    "versions",
    None,
    "Numbers of the versions to serve, for a single model. Default: the latest one.",
    group=MODEL,
    value="N[,N...]",
)
_BATCH = define_whole(
    "max_batch_size",
    32,
    "Maximum number of items per batch and per request; 1 disables batching.",
    least=1,
    most=1024,
    group=REQUESTS,
)
_WAIT = define_number(
    "max_wait_ms",
    5,
    "Maximum time in milliseconds that the first request of a batch waits for others.",
    least=0,
    most=10_000,
    group=REQUESTS,
)
_WAITING = define_whole(
    "max_requests",
    256,
    "Maximum number of simultaneous requests; further ones get status code 503.",
    least=1,
    group=REQUESTS,
)
_MEGABYTES = define_number(
    "max_request_megabytes", 32, "Maximum size of a request.", above=0, most=2000, group=REQUESTS
)
_SECONDS = define_number(
    "timeout_seconds",
    30,
    "Maximum time for a request to arrive, and for its answer.",
    above=0,
    most=3600,
    group=REQUESTS,
)
_HOST = listening_flags.define_host()
_PORT = listening_flags.define_port(8501)
_THREADS = define_whole(
    "batch_threads",
    2,
    "Number of batches that are computed at the same time.",
    least=1,
    most=64,
    group=MACHINE,
)


def main(argv: Sequence[str]) -> None:
    """Loads the models and serves until it is stopped."""
    from r2m.serving.extra import importing
    from tfrecords.core.errors import InputError

    del argv
    with importing("serve"):
        from r2m.serving.batching import BatchLimits
        from r2m.serving.listening import bind, serve, url_of
        from r2m.serving.loaded_export import load_export
        from r2m.serving.server import ServerLimits, make_app

    versions = _numbers(_VERSIONS.value or [])
    if versions and len(_MODEL.value) > 1:
        raise InputError("--versions requires a single --model")
    bound = bind(_HOST.value, _PORT.value)
    exports = [export for model in _MODEL.value for export in load_export(Path(model), versions)]
    names = [(export.name, export.version) for export in exports]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--model: two models are called {name[0]}, rename a folder")
    batches = BatchLimits(_BATCH.value, _WAIT.value / 1000, _THREADS.value, _WAITING.value)
    limits = ServerLimits(batches, round(_MEGABYTES.value * 1_000_000), _SECONDS.value)
    app = make_app(exports, limits)

    def started() -> None:
        for name, version in names:
            print(f"model {name}, version {version}: {url_of(bound)}/v1/models/{name}")
        print(f"serving at {url_of(bound)}", flush=True)

    serve(app, bound, _SECONDS.value, started)
    print("stopped")


def _numbers(texts: Sequence[str]) -> list[int]:
    from tfrecords.core.errors import InputError

    for text in texts:
        if not (text.isascii() and text.isdigit()):
            raise InputError(f"--versions={text}: must be whole numbers")
    return [int(text) for text in texts]


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
