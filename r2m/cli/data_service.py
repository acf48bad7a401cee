"""Makes the batches of training runs in a separate process, on this machine or another.

    r2m-data-service
    r2m-train-curriculum --config.training.data_service=grpc://localhost:5050 ...

For runs on other machines, which reach this machine by the name `feeder`:

    r2m-data-service --host=feeder
    r2m-train-curriculum --config.training.data_service=grpc://feeder:5050 ...

It helps if pixels are decoded for a fast accelerator; stored features do not need it. Records must
have the same paths for the service and the runs. One service serves many runs; Ctrl-C or SIGTERM
ends it.

The service has no authentication: whoever connects to one of its two ports can run TensorFlow
programs as you, which read and write files. Without --host it serves this machine only (on Linux;
elsewhere TensorFlow opens the ports on all interfaces). With --host, use a firewall that admits
only the machines that train.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence

from r2m.cli.flag_groups import MACHINE
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.value_flags import define_text

_HOST = define_text(
    "host",
    "localhost",
    "Name or IP address by which other machines reach this one. Opens the ports on all "
    "interfaces. By default only runs on this machine are served.",
    group=MACHINE,
    value="HOST",
)
_PORT = define_whole(
    "port", 5050, "Port that runs connect to.", least=1, most=65_534, group=MACHINE
)
_WORKER_PORT = define_whole(
    "worker_port",
    None,
    "Port that batches are sent from; a firewall must also pass it. Default: one above --port.",
    least=1,
    most=65_535,
    group=MACHINE,
)


def main(argv: Sequence[str]) -> None:
    """Serves until it is stopped."""
    from r2m.engine.distribution.data_server import serving

    del argv
    worker_port = _WORKER_PORT.value or _PORT.value + 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    with serving(_HOST.value, _PORT.value, worker_port) as address:
        print(f"serving at {address} (batches from port {worker_port})", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(60)  # `join` would ignore Ctrl-C
        # TensorFlow would need a minute to stop prefetching; nothing has to be saved.
        os._exit(0)


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
