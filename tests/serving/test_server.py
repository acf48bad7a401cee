"""The server of exported models: TensorFlow Serving's REST API, uploads, limits, shutdown."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from r2m.serving import server
from r2m.serving.batching import BatchLimits
from r2m.serving.export import Exported
from r2m.serving.loaded_export import LoadedExport, load_export
from r2m.serving.server import ServerLimits, make_app
from tfrecords.core.errors import InputError

LIMITS = ServerLimits(BatchLimits(size=8, wait=0.02), request_bytes=2_000_000, seconds=20)


@pytest.fixture(scope="module")
def models(exported: Callable[[str], Exported]) -> list[LoadedExport]:
    return [
        found for name in ("att2in2", "r2m") for found in load_export(exported(name).folder.parent)
    ]


@pytest.fixture(scope="module")
def client(models: list[LoadedExport]) -> Iterator[TestClient]:
    app = make_app(models, LIMITS)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def predict(client: TestClient, content: Any, model: str = "att2in2") -> Any:
    return client.post(f"/v1/models/{model}:predict", json=content)


@pytest.fixture(scope="module")
def captions(client: TestClient, image_files: list[bytes]) -> list[Any]:
    """Answers to all images, one per request."""
    answers = [predict(client, {"instances": [b64(data)]}) for data in image_files]
    return [answer.json()["predictions"][0] for answer in answers]


def test_rows_and_columns_have_the_same_answers(
    client: TestClient, image_files: list[bytes], captions: list[Any]
) -> None:
    assert [row["status"] for row in captions] == ["ok"] * len(image_files)
    assert all(len(row["captions"]) == 3 and row["captions"][0] for row in captions)
    images = [b64(data) for data in image_files]
    rows = predict(client, {"instances": [{"images": image} for image in images]})
    assert [row["captions"] for row in rows.json()["predictions"]] == [
        row["captions"] for row in captions
    ]
    for inputs in (images, {"images": images}):
        answer = predict(client, {"signature_name": "serving_default", "inputs": inputs})
        found = answer.json()["outputs"]
        assert found["captions"] == [row["captions"] for row in captions]
        assert set(found) == set(captions[0])
    concepts = {"concepts": ["flower", "moon"], "concept_lengths": 2}
    answer = predict(client, {"instances": [concepts], "signature_name": "from_concepts"}, "r2m")
    assert answer.json()["predictions"][0]["status"] == "ok"


def test_bad_items_spoil_no_others_and_missing_numbers_are_null(
    client: TestClient, image_files: list[bytes], captions: list[Any]
) -> None:
    images = [image_files[0], b"", b"no picture", image_files[1][:200], image_files[1]]
    answer = predict(client, {"instances": [b64(data) for data in images]})
    found = answer.json()["predictions"]
    words = [row["status"].partition(":")[0] for row in found]
    assert words == ["ok", "empty", "unsupported_format", "unreadable", "ok"]
    assert [found[0]["captions"], found[4]["captions"]] == [
        captions[0]["captions"], captions[1]["captions"]
    ]  # fmt: skip
    assert found[1]["captions"] == [""] * 3 and found[1]["scores"] == [None] * 3
    assert "NaN" not in answer.text


def test_status_metadata_and_versions(client: TestClient) -> None:
    (state,) = client.get("/v1/models/att2in2").json()["model_version_status"]
    assert state == {
        "version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}
    }  # fmt: skip
    found = client.get("/v1/models/att2in2/versions/1/metadata").json()
    assert found == client.get("/v1/models/att2in2/metadata").json()
    assert found["model_spec"] == {"name": "att2in2", "signature_name": "", "version": "1"}
    default = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    images = default["inputs"]["images"]
    assert images["dtype"] == "DT_STRING"
    assert images["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}], "unknown_rank": False
    }  # fmt: skip
    assert default["method_name"] == "tensorflow/serving/predict"
    for path in ("/v1/models/other", "/v1/models/att2in2/versions/2", "/v1", "/v1/models/x/y"):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.json()["error"], path
    assert client.get("/v1/models/other").json() == {
        "error": "no model 'other'; the models are att2in2, r2m"
    }
    assert client.get("/caption").status_code == 405


def assert_same_answer(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Asserts equality up to rounding: other batch sizes may change the order of sums."""
    numbers = ("scores", "log_probabilities")
    for name in numbers:
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
    rest = [{k: v for k, v in own.items() if k not in numbers} for own in (found, expected)]
    assert rest[0] == rest[1]


def test_images_are_uploaded_as_forms_and_as_they_are(
    client: TestClient, image_files: list[bytes], captions: list[Any]
) -> None:
    raw = client.post("/caption", content=image_files[0])
    assert raw.json()["model"] == "att2in2" and raw.json()["version"] == "1"
    (only,) = raw.json()["images"]
    assert_same_answer(only, {"name": "", **captions[0]})
    script = "<script>alert(1)</script>.png"
    files = [("a", (script, image_files[1])), ("a", ("b.txt", b"some text"))]
    first, second = client.post("/caption", files=files).json()["images"]
    assert_same_answer(first, {"name": script, **captions[1]})
    assert second["name"] == "b.txt" and second["status"].startswith("unsupported_format")
    assert client.post("/caption").json()["images"][0]["status"].startswith("empty")
    odd = b'--a\r\nContent-Disposition: form-data; name="b"; filename="\xff"\r\n\r\nx\r\n--a--\r\n'
    kind = "multipart/form-data; boundary=a; charset=undefined"
    refused = {
        "the form cannot be read: decoding with": client.post(
            "/caption", content=odd, headers={"content-type": kind}
        ),
        "the form has no file": client.post("/caption", data={"a": "b"}, files={"c": ("", b"")}),
        "the form cannot be read": client.post(
            "/caption", content=b"x", headers={"content-type": "multipart/form-data"}
        ),
        "does not caption images: its default signature takes concept": client.post(
            "/caption?model=r2m", content=image_files[0]
        ),
    }
    for message, answer in refused.items():
        assert answer.status_code == 400 and message in answer.json()["error"], answer.text
    assert client.post("/caption?model=x", content=b"").status_code == 404


BAD_REQUESTS = {
    '{"instances": [': "the body is not JSON",
    "[" * 100_000: "nested too deeply",
    "[]": "not a JSON object",
    '{"instance": []}': "unknown field 'instance'",
    "{}": 'either "instances"',
    '{"instances": ["a"], "inputs": ["a"]}': 'either "instances"',
    '{"instances": ["a"], "signature_name": "x\\ud800"}': "no signature 'x\\ud800': the model has",
    '{"instances": []}': "0 items: expected 1 to 8",
    '{"instances": ["","","","","","","","",""]}': "9 items: expected 1 to 8",
    '{"instances": {"a": 1}}': "is not a list",
    '{"instances": [1]}': "has 1: expected text or",
    '{"instances": [["a"]]}': "has ['a']: expected text or",
    '{"inputs": "a"}': "a value where a list belongs: expected shape [-1]",
    '{"instances": [{"b64": "a"}]}': "no standard base64",
    '{"instances": [{"b64": 1}]}': "expected text or",
    '{"instances": ["\\ud800"]}': "text that is not Unicode",
    '{"instances": [{"x": "a"}]}': "input images is missing",
    '{"instances": [{"images": "a"}, {"x": "a"}]}': "instance 1 has other inputs",
    '{"inputs": {"images": ["a"], "x": ["a"]}}': "no input 'x'",
    '{"signature_name": "from_pixels", "inputs": [[1, 2]]}': "a list of 2 entries: expected",
    '{"signature_name": "from_features", "instances": [[[[1]]]]}': "list of 1 entries",
}


@pytest.mark.parametrize("body", BAD_REQUESTS)
def test_requests_that_are_not_as_the_contract_has_them_are_refused(
    client: TestClient, body: str
) -> None:
    answer = client.post("/v1/models/att2in2:predict", content=body)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"] and BAD_REQUESTS[body] in answer.json()["error"]


def test_numbers_are_checked(client: TestClient) -> None:
    def refused(lengths: Any, concepts: Any = ("moon",)) -> str:
        row = {"concepts": list(concepts), "concept_lengths": lengths}
        answer = predict(client, {"instances": [row]}, "r2m")
        assert answer.status_code == 400
        error: str = answer.json()["error"]
        return error

    assert "has 1.5: expected whole numbers" in refused(1.5)
    assert "has True: expected whole numbers" in refused(True)
    assert "does not fit int32" in refused(2**31)
    assert "has a list of 1001 entries: at most 1000" in refused(1, ["moon"] * 1001)
    rows = [{"concepts": ["moon"] * size, "concept_lengths": size} for size in (1, 2)]
    answer = predict(client, {"instances": rows}, "r2m")
    assert "lists of different lengths" in answer.json()["error"]


def test_large_requests_are_refused_before_they_are_read(client: TestClient) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(100_000)

    for path in ("/caption", "/v1/models/att2in2:predict"):
        for content in (bytes(2_000_001), parts()):
            answer = client.post(path, content=content)
            assert answer.status_code == 413
            assert "larger than 2 megabytes" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/caption", "/v1/models/att2in2:predict"])
def test_a_body_that_does_not_arrive_in_time_is_given_up(
    models: list[LoadedExport], path: str
) -> None:
    app = make_app(models, dataclasses.replace(LIMITS, seconds=0.05))
    sent: list[Any] = []

    async def ask() -> None:
        parts = [{"type": "http.request", "body": b"{", "more_body": True}]

        async def receive() -> Any:
            return parts.pop() if parts else await asyncio.sleep(60)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
            "query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http",
        }  # fmt: skip
        await app(scope, receive, send)

    with TestClient(app) as client:
        asyncio.run(ask())
        assert sent[0]["status"] == 408
        found = json.loads(b"".join(message.get("body", b"") for message in sent))
        assert found == {"error": "the body did not arrive within 0.05 seconds"}
        # The slot of the request is free again.
        assert 'code="408"' in client.get("/metrics").text
        assert client.get("/healthz").status_code == 200


def test_fifty_requests_at_once_get_their_own_answers_in_batches(
    models: list[LoadedExport], image_files: list[bytes], captions: list[Any]
) -> None:
    sizes = []
    default = models[0].signatures["serving_default"]

    def counted(columns: Any) -> Any:
        sizes.append(len(columns["images"]))
        return default.function(columns)

    signatures = {"serving_default": default._replace(function=counted)}
    app = make_app([models[0]._replace(signatures=signatures)], LIMITS)
    images = [*image_files, b"no picture"]
    words = ["ok"] * len(image_files) + ["unsupported_format"]
    with TestClient(app) as client, ThreadPoolExecutor(16) as pool:
        places = [number % len(images) for number in range(50)]
        answers = list(
            pool.map(lambda place: predict(client, {"instances": [b64(images[place])]}), places)
        )
        metrics = client.get("/metrics").text
    for place, answer in zip(places, answers, strict=True):
        (row,) = answer.json()["predictions"]
        assert row["status"].partition(":")[0] == words[place]
        if place < len(captions):
            assert row["captions"] == captions[place]["captions"]
    assert sum(sizes) == 50 and len(sizes) < 40 and max(sizes) <= 8
    assert 'r2m_requests_total{code="200",route="/v1/models/{name}:predict"} 50.0' in metrics
    assert "r2m_batch_items_sum 50.0" in metrics and "process_resident_memory_bytes" in metrics
    count = places.count(len(image_files))
    assert (
        f'model="att2in2",signature="serving_default",status="unsupported_format"}} {count}.0'
        in (metrics)
    )


def test_slow_and_failing_models_and_full_queues(models: list[LoadedExport]) -> None:
    default = models[0].signatures["serving_default"]
    go = threading.Event()

    def slow(columns: Any) -> Any:
        go.wait(10)
        raise OSError("no such device")

    signatures = {"serving_default": default._replace(function=slow)}
    limits = ServerLimits(BatchLimits(wait=0, threads=1, waiting=2), seconds=0.3)
    app = make_app([models[0]._replace(signatures=signatures)], limits)
    with TestClient(app, raise_server_exceptions=False) as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: predict(client, {"instances": ["a"]}), range(4)))
        codes = sorted(answer.status_code for answer in answers)
        assert codes == [503, 503, 504, 504]
        assert {answer.json()["error"] for answer in answers} == {
            "no answer within 0.3 seconds",
            "2 requests are being answered already: try again later",
        }
        go.set()
        failed = predict(client, {"instances": ["a"]})
        assert failed.status_code == 500
        assert failed.json() == {"error": "the server failed: OSError"}
        assert client.get("/healthz").json() == {"status": "ok", "models": ["att2in2"]}


def test_few_images_are_converted_at_once(
    models: list[LoadedExport], image_files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of 100 megapixels takes a gigabyte when it is converted."""
    lock, running, most = threading.Lock(), [], []

    def convert(upload: Any) -> bytes:
        with lock:
            running.append(upload)
            most.append(len(running))
        time.sleep(0.05)
        with lock:
            running.pop()
        data: bytes = upload.data
        return data

    monkeypatch.setattr(server, "readable", convert)
    app = make_app(models, dataclasses.replace(LIMITS, batches=BatchLimits(threads=2)))
    with TestClient(app) as client, ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda _: client.post("/caption", content=image_files[0]), range(8))
        assert [answer.status_code for answer in found] == [200] * 8
    assert max(most) <= 2
    app = make_app(models, dataclasses.replace(LIMITS, seconds=0.01))
    with TestClient(app) as client:
        assert client.post("/caption", content=image_files[0]).status_code == 504


TEXT = st.text(max_size=8) | st.sampled_from(["moon", "images", "b64", "R0lGODlhAQABAAAAACw="])
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["b64", "images", "concepts", "concept_lengths"]), inner)
        | st.dictionaries(TEXT, inner, max_size=3)
    ),
    max_leaves=12,
)
ROW = st.fixed_dictionaries(
    {"concepts": st.lists(TEXT, min_size=1, max_size=1), "concept_lengths": st.integers(-2, 4)}
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "instances": VALUES | st.lists(ROW, max_size=4),
        "inputs": VALUES,
        "signature_name": TEXT | st.sampled_from(["from_concepts", "serving_default"]) | VALUES,
    },
)


@settings(
    max_examples=80, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(body=BODIES | VALUES, model=st.sampled_from(["att2in2", "r2m"]))
def test_no_body_makes_the_server_fail(client: TestClient, body: Any, model: str) -> None:
    answer = client.post(f"/v1/models/{model}:predict", content=json.dumps(body))
    assert answer.status_code in (200, 400)
    assert answer.json().keys() <= {"error", "predictions", "outputs"}


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    body=st.binary(max_size=200),
    path=st.sampled_from(["/v1/models/r2m:predict", "/caption", "/v1/models/%ff:predict", "/%00"]),
    kind=st.sampled_from(["multipart/form-data; boundary=a", "multipart/form-data", "text/html"]),
)
def test_no_bytes_make_the_server_fail(
    client: TestClient, body: bytes, path: str, kind: str
) -> None:
    answer = client.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code in (200, 400, 404)


NAMES = """
v1 models att2in2 att2in2:predict r2m r2m:predict versions 1 1:predict metadata caption metrics
healthz .. . %2e%2e %2fetc %00 etc passwd %ff <script> 1e9 -1 models:predict docs openapi.json
"""
SEGMENTS = st.sampled_from([*NAMES.split(), ""]) | st.text(
    st.characters(exclude_characters="?#", exclude_categories=["C"]), max_size=6
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "content-length", "accept-encoding", "expect", "range"]),
    st.sampled_from(["application/json", "0", "99", "-1", "1e3", "gzip", "100-continue", "a;b=c"])
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
    max_size=3,
)


@settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH"]),
    segments=st.lists(SEGMENTS, max_size=6),
    query=st.sampled_from(
        ["", "?model=r2m", "?model=../../etc", "?model=", "?model=a&model=b", "?%"]
    ),
    headers=HEADERS,
    body=st.sampled_from([b"", b"{}", b"[1]", b"GIF89a", b"--a\r\n"]),
)
def test_no_request_makes_the_server_fail_or_leaves_its_routes(
    client: TestClient,
    method: str,
    segments: list[str],
    query: str,
    headers: dict[str, str],
    body: bytes,
) -> None:
    url = f"http://testserver/{'/'.join(segments)}{query}"
    answer = client.request(method, url, headers=headers, content=body)
    assert answer.status_code in (200, 400, 404, 405, 413), (url, answer.text)
    assert "root:" not in answer.text and "Traceback" not in answer.text
    if answer.status_code >= 400 and method != "HEAD":
        assert list(answer.json()) == ["error"]


def test_names_of_models_are_no_paths(client: TestClient) -> None:
    for name in ("..", "%2e%2e", "..%2F..%2Fetc%2Fpasswd", "att2in2%2F..", "%00", "att2in2%00"):
        for path in (f"/v1/models/{name}", f"/v1/models/{name}/metadata"):
            answer = client.get(path)
            assert answer.status_code == 404, path
        assert client.post(f"/v1/models/{name}:predict", content=b"{}").status_code == 404
    # Only the named models are served, not other folders next to them.
    assert client.get("/v1/models/att2in2/versions/%2e%2e%2f2").status_code == 404
    assert client.post("/caption?model=../r2m", content=b"").status_code == 404


def test_folders_that_are_no_exports_are_named(
    exported: Callable[[str], Exported], tmp_path: Path
) -> None:
    folder = exported("r2m").folder
    assert [(own.name, own.version) for own in load_export(folder)] == [("r2m", 1)]
    with pytest.raises(InputError, match=r"r2m has no version 7: it has 1"):
        load_export(folder.parent, [7])
    with pytest.raises(InputError, match="not an exported model; expected a folder of r2m-export"):
        load_export(tmp_path)
    (tmp_path / "run" / "xe" / "checkpoints").mkdir(parents=True)
    for run in (tmp_path / "run", tmp_path / "run" / "xe"):
        with pytest.raises(InputError, match=f"To export this run: r2m-export --run={run} --out"):
            load_export(run)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "caption.py").touch()
    with pytest.raises(InputError, match="two graphs for another runtime"):
        load_export(tmp_path)
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(InputError, match="the SavedModel cannot be loaded"):
        load_export(tmp_path)
