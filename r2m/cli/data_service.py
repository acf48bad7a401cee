"""Makes the batches of training runs in a process of its own, on this machine or another.

    r2m-data-service --port=5050
    r2m-train-curriculum --data_service=grpc://HOST:5050 ...

Worth it where pixels are decoded for a fast accelerator; stored features need no help. It must see
the records under the same paths as the runs. One service serves many runs; Ctrl-C ends it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from r2m.cli.common import run
from r2m.cli.number_flags import define_whole

_PORT = define_whole("port", 5050, "Where runs find the service.", least=1, most=65_535)


def main(argv: Sequence[str]) -> None:
    """Serves until it is stopped."""
    import tensorflow as tf

    from r2m.engine.errors import TrainingError

    del argv
    service = tf.data.experimental.service
    try:
        dispatcher = service.DispatchServer(service.DispatcherConfig(port=_PORT.value))
    except RuntimeError as error:
        raise TrainingError(
            f"--port={_PORT.value}: cannot be served at ({error}): another process may have it, or "
            "it may be reserved; give another one"
        ) from error
    address = dispatcher.target.split("://")[1]
    # One worker only: each worker would send every batch.
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
    print(f"serving at {dispatcher.target}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(60)  # `join` would be deaf to Ctrl-C
    del worker


def console() -> None:
    """Entry of the console script."""
    run(main)


if __name__ == "__main__":
    console()
