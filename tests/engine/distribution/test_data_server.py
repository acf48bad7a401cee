"""The process that serves batches: its addresses, and access from other machines."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import engine_toys
import numpy as np
import pytest

from r2m.engine.distribution import data_server
from r2m.engine.distribution.addresses import connection_problem
from r2m.engine.distribution.batch_service import service_problem
from r2m.engine.distribution.data_server import serving
from r2m.engine.errors import TrainingError
from r2m.engine.options import TrainingOptions
from r2m.engine.train import train

ROOT = Path(__file__).resolve().parents[3]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


class TestPorts:
    def test_a_port_in_use_is_refused(self) -> None:
        one, two, three = free_ports(3)
        with serving("localhost", one, two) as address:
            assert address == f"grpc://localhost:{one}"
            assert service_problem(address) is None
            # TensorFlow itself accepts ports in use; each service then gets some connections.
            with pytest.raises(TrainingError, match=f"--port={one}: Address already in use"):
                serving("localhost", one, three).__enter__()
            with pytest.raises(TrainingError, match=f"--worker_port={two}: Address already in"):
                serving("localhost", three, two).__enter__()
        with socket.create_server(("127.0.0.1", one)), pytest.raises(TrainingError, match="in use"):
            serving("localhost", one, two).__enter__()
        with serving("localhost", one, two):  # closed connections do not keep it
            assert service_problem(address) is None

    def test_one_port_for_both_is_refused(self) -> None:
        with pytest.raises(TrainingError, match="both 5050"):
            serving("localhost", 5050, 5050).__enter__()

    def test_an_address_that_nobody_can_connect_to_is_refused(self) -> None:
        with pytest.raises(TrainingError, match=r"--host=0\.0\.0\.0: not an address to connect to"):
            serving("0.0.0.0", *free_ports(2)).__enter__()

    def test_open_ports_are_warned_of(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = free_ports(2)
        if sys.platform == "linux":
            with serving("127.0.0.1", first, second):
                assert not caplog.text
        # As on other systems.
        monkeypatch.setattr(data_server, "_restricted_to_loopback", lambda ports: False)
        with serving("127.0.0.1", first, second):
            assert f"ports {first} and {second} are open on all interfaces" in caplog.text


@pytest.fixture
def other_machine() -> Iterator[tuple[str, str]]:
    """Yields the name of a network namespace, and its address as seen from this one."""
    ip = shutil.which("ip")
    if ip is None or os.geteuid():
        pytest.skip("takes root and the command ip (Debian's package iproute2)")
    name = f"r2m{os.getpid()}"
    here, there = f"{name}a", f"{name}b"  # at most 15 letters
    # Addresses reserved for network tests; each process uses a different network.
    net = f"198.18.{os.getpid() % 256}"
    commands = [
        f"netns add {name}",
        f"link add {here} type veth peer name {there} netns {name}",
        f"addr add {net}.2/24 dev {here}",
        f"link set {here} up",
        f"-n {name} addr add {net}.1/24 dev {there}",
        f"-n {name} link set {there} up",
        f"-n {name} link set lo up",
    ]
    try:
        for command in commands:
            done = subprocess.run([ip, *command.split()], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no network namespaces here: ip {command}: {done.stderr.strip()}")
        yield name, f"{net}.1"
    finally:
        subprocess.run([ip, "netns", "del", name], capture_output=True)  # and both interfaces


def start(namespace: str, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["ip", "netns", "exec", namespace, sys.executable, "-m", "r2m.cli.data_service", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until_serving(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("serving at"):
            return said
    raise AssertionError(said)


def test_two_machines(other_machine: tuple[str, str], tmp_path: Path) -> None:
    namespace, host = other_machine
    closed = start(namespace, "--port=5050")
    opened = start(namespace, f"--host={host}", "--port=5060")
    try:
        assert "all interfaces" not in until_serving(closed)
        assert "ports 5060 and 5061 are open on all interfaces" in until_serving(opened)
        for port in (5050, 5051):
            assert connection_problem((host, port), 5) == "Connection refused"
        expected = f"no data service answers at grpc://{host}:5050 (Connection refused); start one"
        found = service_problem(f"grpc://{host}:5050")
        assert found is not None and found.startswith(expected)
        assert f"--host={host} --port=5050" in found
        weights = [
            weights_after(tmp_path / name, address)
            for name, address in (("here", None), ("there", f"grpc://{host}:5060"))
        ]
        for own, other in zip(*weights, strict=True):
            np.testing.assert_array_equal(own, other)
        opened.send_signal(signal.SIGTERM)
        assert opened.wait(10) == 0
    finally:
        for process in (closed, opened):
            process.kill()
            process.wait()


def weights_after(workdir: Path, address: str | None) -> list[np.ndarray]:
    stage = engine_toys.LanguageStage()
    options = TrainingOptions(steps=4, show_progress=False, data_service=address)
    train(stage, options, workdir, strategy=engine_toys.make_strategy("one_device"))
    return stage.model.get_weights()
