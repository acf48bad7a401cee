"""Server of exported models: TensorFlow Serving's REST contract, image uploads, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from absl import logging
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from r2m.serving.batching import Batcher, BatchLimits, Columns, QueueFull
from r2m.serving.loaded_export import LoadedExport
from r2m.serving.request_bodies import read_body, read_uploads, readable
from r2m.serving.rest_contract import (
    DEFAULT_SIGNATURE,
    RequestError,
    items_of,
    parse_predict,
    predict_answer,
    shown,
    to_bytes,
)
from r2m.serving.server_metrics import CONTENT_TYPE, Measured, ServerMetrics

_T = TypeVar("_T")
_MODEL = "/v1/models/{name}"
_VERSION = _MODEL + "/versions/{version}"


@dataclass(frozen=True)
class ServerLimits:
    """Limits of a server.

    Attributes:
        batches: limits of batches and of the queue.
        request_bytes: maximum size of the body of a request.
        seconds: maximum time until a body has arrived, and until it is answered.
    """

    batches: BatchLimits = field(default_factory=BatchLimits)
    request_bytes: int = 32_000_000
    seconds: float = 30.0


def make_app(exports: Sequence[LoadedExport], limits: ServerLimits) -> FastAPI:
    """Returns the ASGI application that serves exported models.

    Args:
        exports: versions of all models; the first model serves `/caption` unless a request names
            another one.
        limits: limits of requests and batches.
    """
    metrics = ServerMetrics()
    models = Models(exports, limits, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(models.close)

    # No documentation pages, because they load scripts from other servers.
    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_middleware(Measured, metrics=metrics)
    handlers: dict[Any, Callable[..., Any]] = {
        RequestError: lambda _, error: _error(error.code, str(error)),
        QueueFull: lambda _, error: _error(503, str(error), {"Retry-After": "1"}),
        ClientDisconnect: lambda _, error: _error(400, "the client has left"),
        HTTPException: lambda _, error: _error(error.status_code, error.detail, error.headers),
        Exception: lambda _, error: _error(500, f"the server failed: {type(error).__name__}"),
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    get, post = ["GET"], ["POST"]
    app.add_api_route("/healthz", models.health, methods=get)
    app.add_api_route("/metrics", models.metrics_page, methods=get)
    app.add_api_route("/caption", models.caption, methods=post)
    for path in (_VERSION, _MODEL):  # otherwise a name could contain `:predict`
        app.add_api_route(path + ":predict", models.predict, methods=post)
        app.add_api_route(path + "/metadata", models.metadata, methods=get)
        app.add_api_route(path, models.status, methods=get)
    return app


class Models:
    """Handlers of all routes."""

    def __init__(
        self, exports: Sequence[LoadedExport], limits: ServerLimits, metrics: ServerMetrics
    ) -> None:
        """Starts the threads that compute."""
        self._models: dict[str, dict[int, LoadedExport]] = {}
        for export in exports:
            self._models.setdefault(export.name, {})[export.version] = export
        self._limits, self._metrics = limits, metrics
        self._accepted = 0
        # Few, because converting a large image takes a gigabyte.
        self._converters = ThreadPoolExecutor(limits.batches.threads, "conversions")
        self.batcher = Batcher(limits.batches, metrics.observe_batch)

    def close(self) -> None:
        """Ends the threads, except those of endless graphs."""
        self._converters.shutdown(wait=False, cancel_futures=True)
        if not self.batcher.close(self._limits.seconds):
            logging.warning("a model is still computing and is abandoned")

    async def health(self) -> Response:
        """Answers `/healthz`."""
        return _answer({"status": "ok", "models": list(self._models)})

    async def metrics_page(self) -> Response:
        """Answers `/metrics`."""
        return Response(self._metrics.text(self.batcher.waiting), media_type=CONTENT_TYPE)

    async def status(self, name: str, version: str | None = None) -> Response:
        """Answers which versions of a model are served."""
        found = self._versions(name)
        if version is not None:
            found = {(export := self._find(name, version)).version: export}
        return _answer(
            {
                "model_version_status": [
                    {
                        "version": str(number),
                        "state": "AVAILABLE",
                        "status": {"error_code": "OK", "error_message": ""},
                    }
                    for number in sorted(found, reverse=True)
                ]
            }
        )

    async def metadata(self, name: str, version: str | None = None) -> Response:
        """Answers with the signatures of a model."""
        export = self._find(name, version)
        spec = {"name": export.name, "signature_name": "", "version": str(export.version)}
        definitions = {"signature_def": {"signature_def": export.definitions}}
        return _answer({"model_spec": spec, "metadata": definitions})

    async def predict(self, request: Request, name: str, version: str | None = None) -> Response:
        """Answers a predict request."""
        export = self._find(name, version)
        with self._accepting():
            body = await self._body(request)
            infos = {own: signature.inputs for own, signature in export.signatures.items()}
            most = self._limits.batches.size
            parsed = await run_in_threadpool(parse_predict, body, infos, most)
            outputs = await self._compute(export, parsed.signature, parsed.inputs)
        answer = await run_in_threadpool(predict_answer, outputs, parsed.by_row)
        return _answer(answer)

    async def caption(self, request: Request, model: str | None = None) -> Response:
        """Answers images, as the files of a form or as the body, with their captions."""
        export = self._find(next(iter(self._models)) if model is None else model, None)
        if not export.captions_images:
            default = export.signatures.get(DEFAULT_SIGNATURE)
            takes = ", ".join(default.inputs) if default else "nothing"
            raise RequestError(
                400,
                f"model {export.name} does not caption images: its default signature takes {takes}"
                f"; POST /v1/models/{export.name}:predict",
            )
        with self._accepting():
            body = await self._body(request)
            uploads = await read_uploads(request, body, self._limits.batches.size)
            images = np.empty(len(uploads), object)
            conversion = self._converters.submit(lambda: [readable(own) for own in uploads])
            converted = await self._in_time(conversion)
            images[:] = converted
            outputs = await self._compute(export, DEFAULT_SIGNATURE, {"images": images})
        items = [
            {"name": upload.name, **item}
            for upload, item in zip(uploads, items_of(outputs), strict=True)
        ]
        return _answer({"model": export.name, "version": str(export.version), "images": items})

    async def _body(self, request: Request) -> bytes:
        return await read_body(request, self._limits.request_bytes, self._limits.seconds)

    async def _in_time(self, future: Future[_T]) -> _T:
        """Returns the result of a future; raises `RequestError` 504 if it takes too long."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._limits.seconds)
        except asyncio.TimeoutError:
            raise RequestError(504, f"no answer within {self._limits.seconds:g} seconds") from None

    async def _compute(self, export: LoadedExport, signature: str, inputs: Columns) -> Columns:
        future = self.batcher.submit(export.signatures[signature].function, inputs)
        try:
            outputs = await self._in_time(future)
        except (RequestError, asyncio.CancelledError):
            raise
        except Exception:
            logging.exception("model %s failed in signature %s", export.name, signature)
            raise
        self._metrics.count_items(export.name, signature, outputs.get("status"))
        return outputs

    @contextmanager
    def _accepting(self) -> Iterator[None]:
        """Counts a request while its body is in memory; raises `QueueFull` above the limit."""
        most = self._limits.batches.waiting
        if self._accepted >= most:
            raise QueueFull(f"{most} requests are being answered already: try again later")
        self._accepted += 1
        try:
            yield
        finally:
            self._accepted -= 1

    def _versions(self, name: str) -> dict[int, LoadedExport]:
        if name not in self._models:
            raise RequestError(
                404, f"no model {shown(name)}; the models are {', '.join(self._models)}"
            )
        return self._models[name]

    def _find(self, name: str, version: str | None) -> LoadedExport:
        versions = self._versions(name)
        if version is None:
            return versions[max(versions)]
        for number, export in versions.items():
            if version == str(number):
                return export
        numbers = ", ".join(map(str, sorted(versions)))
        raise RequestError(404, f"model {name} has no version {shown(version)}: it has {numbers}")


def _answer(content: Any) -> Response:
    return Response(to_bytes(content), media_type="application/json")


def _error(code: int, message: str, headers: Any = None) -> Response:
    return Response(
        to_bytes({"error": message}), code, headers=headers, media_type="application/json"
    )
