"""Metrics of a server, for Prometheus."""

from __future__ import annotations

import time
from collections import Counter as Counts
from collections.abc import Iterable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)


class ServerMetrics:
    """Counters and histograms of requests, items and batches."""

    def __init__(self) -> None:
        """Creates the metrics, including those of the process."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "r2m_requests", "Requests that were answered.", ["route", "code"], registry=registry
        )
        self._seconds = Histogram(
            "r2m_request_seconds",
            "Seconds from the head of a request to its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._items = Counter(
            "r2m_items",
            "Items that were answered, by the first word of their status.",
            ["model", "signature", "status"],
            registry=registry,
        )
        self._batch_items = Histogram(
            "r2m_batch_items", "Items per batch.", buckets=_ITEMS, registry=registry
        )
        self._batch_seconds = Histogram(
            "r2m_batch_seconds", "Seconds per batch.", buckets=_SECONDS, registry=registry
        )
        self._waiting = Gauge("r2m_waiting_requests", "Requests in the queue.", registry=registry)

    def count_items(self, model: str, signature: str, statuses: Iterable[Any] | None) -> None:
        """Counts items by `status` string [B]; does nothing for a signature without it."""
        words = Counts(
            bytes(status).partition(b":")[0].decode("utf-8", "replace")
            for status in (() if statuses is None else statuses)
        )
        for word, count in words.items():
            self._items.labels(model, signature, word).inc(count)

    def observe_batch(self, items: int, seconds: float) -> None:
        """Records a batch."""
        self._batch_items.observe(items)
        self._batch_seconds.observe(seconds)

    def text(self, waiting: int) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        self._waiting.set(waiting)
        return generate_latest(self._registry)

    def observe_request(self, route: str, code: int, seconds: float) -> None:
        """Records an answered request."""
        self._requests.labels(route, str(code)).inc()
        self._seconds.labels(route).observe(seconds)


class Measured:
    """An ASGI application that records the requests of another one."""

    def __init__(self, app: Any, metrics: ServerMetrics) -> None:
        """Wraps an application."""
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request and records it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, code = time.monotonic(), 500

        async def send_recorded(message: Any) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_recorded)
        finally:
            # The declared path, because requested paths are unbounded.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.observe_request(route, code, time.monotonic() - start)
