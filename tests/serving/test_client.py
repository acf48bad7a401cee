"""The client of servers, and a server in a separate process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from r2m.serving import rest_connection
from r2m.serving.address import Address
from r2m.serving.client import caption_images, check_signature, connect
from r2m.serving.export import Exported
from r2m.serving.listening import bind
from tfrecords.core.errors import InputError
from tfrecords.pictures.named_images import named_files

ROOT = Path(__file__).resolve().parents[2]
SIGNATURE = {"inputs": {"images": {}}, "outputs": {"captions": {}, "scores": {}}}


class TensorFlowServing(BaseHTTPRequestHandler):
    """Fake of TensorFlow Serving, which writes NaN in its JSON."""

    asked: ClassVar[list[Any]] = []

    def do_GET(self) -> None:
        if self.path == "/v1/models/cut/metadata":
            self.send_response(500, "Cut off")
            self.send_header("Content-Length", "99")
            self.end_headers()
            return None
        if self.path != "/v1/models/coco/metadata":
            return self._answer(404, {"error": "Servable not found for request: Latest(cocoa)"})
        signatures = {"serving_default": SIGNATURE, "rank": {"inputs": {"texts": {}}}}
        return self._answer(200, {"metadata": {"signature_def": {"signature_def": signatures}}})

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(content)
        if len(self.asked) == 1:
            return self._answer(503, {"error": "busy"})
        images = content["inputs"]["images"]
        outputs = {
            "captions": [["a dog"] for _ in images],
            "scores": [[float("nan")]] * len(images),
        }
        return self._answer(200, {"outputs": outputs})

    def _answer(self, code: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    TensorFlowServing.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), TensorFlowServing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def photographs(tmp_path: Path, image_files: list[bytes]) -> Path:
    for number, data in enumerate([*image_files, b"", b"some text"]):
        (tmp_path / f"{number}.png").write_bytes(data)
    return tmp_path


def test_captions_of_a_host_of_tensorflow_serving(
    host: str, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_connection, "PAUSES", (0.01,))
    connection = connect(Address(host, "coco"))
    check_signature(connection)
    files = named_files([photographs]).files
    rows = list(caption_images(connection, files, batch_size=2, parallel=1))
    assert [row["image_id"] for row in rows] == [file.name for file in files]
    good = {"status": "ok", "captions": ["a dog"], "scores": [None]}
    statuses = [row["status"].partition(":")[0] for row in rows]
    assert statuses == ["ok"] * (len(files) - 2) + ["empty", "unreadable"]
    assert all(row == {"image_id": row["image_id"], **good} for row in rows[:-2])
    assert {content["signature_name"] for content in TensorFlowServing.asked} == {"serving_default"}


def test_what_is_wrong_with_a_host_is_said(host: str) -> None:
    def message(address: Address) -> str:
        with pytest.raises(InputError) as error:
            check_signature(connect(address))
        return str(error.value)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        assert f"no answer from {url} within 0.2 seconds" in message(
            Address(url, "coco", seconds=0.2)
        )
        with pytest.raises(
            InputError, match=f"cannot listen at 127.0.0.1, port {port}: Address al"
        ):
            bind("127.0.0.1", port)
    assert f"no server answers at {url}" in message(Address(url, "coco"))
    assert "start r2m-serve" in message(Address(url, "coco"))
    for bad in (
        "localhost:8501", "http://[::1:8501", "http://127.0.0.1:x", "http://127.0.0.1:99999",
        "http://a b:1", "http://a..b:1", "http://a/\u00e4", "http://a/?b",
    ):  # fmt: skip
        assert f"--url={bad}: expected http://HOST:PORT" in message(Address(bad, "coco"))
    assert message(Address(host, "cut")).endswith("answers with code 500: Cut off")
    found = message(Address(host, "cocoa"))
    assert "code 404: Servable not found for request: Latest(cocoa); is the model named" in found
    assert "no signature x: it has rank, serving_default" in message(
        Address(host, "coco", signature="x")
    )
    assert "takes texts and returns : expected images and captions" in message(
        Address(host, "coco", signature="rank")
    )


def test_a_server_answers_what_it_accepted_before_it_ends(
    exported: Callable[[str], Exported], photographs: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    folder = exported("att2in2").folder.parent
    server = subprocess.Popen(
        [sys.executable, "-m", "r2m.cli.serve", f"--model={folder}", "--port=0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        cwd=photographs,
    )  # fmt: skip
    assert server.stdout is not None
    try:
        lines = [server.stdout.readline(), server.stdout.readline()]
        found = re.fullmatch(r"serving at (http://127\.0\.0\.1:(\d+))\n", lines[1])
        assert found and lines[0] == f"model att2in2, version 1: {found[1]}/v1/models/att2in2\n"
        done = subprocess.run(
            [sys.executable, "-m", "r2m.cli.client", ".", "--model=att2in2", f"--url={found[1]}",
             "--format=json_lines"],
            capture_output=True, text=True, check=False, env=environment, cwd=photographs,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["status"].partition(":")[0] for row in rows][-2:] == [
            "empty", "unreadable"
        ]  # fmt: skip
        assert all(row["captions"][0] for row in rows[:-2])
        # A request whose body is being sent when the signal arrives.
        image = (photographs / "0.png").read_bytes()
        with socket.create_connection(("127.0.0.1", int(found[2]))) as connection:
            length = f"Content-Length: {len(image)}"
            head = f"POST /caption HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n"
            connection.sendall(head.encode() + image[:9])
            time.sleep(0.5)
            server.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", int(found[2])))
            connection.sendall(image[9:])
            answer = b""
            while part := connection.recv(1 << 16):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["images"][0]["status"] == "ok"
        output, errors = server.communicate(timeout=30)
        assert (server.returncode, output) == (0, "stopped\n"), errors
    finally:
        server.kill()
        server.wait()
