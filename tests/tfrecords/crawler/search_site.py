"""A search site on this machine that misbehaves as it is told to, and time that passes at will."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from tfrecords.crawler.fetching import Clock

Answer = Callable[[BaseHTTPRequestHandler], None]


def search_page(*descriptions: str) -> str:
    """A page as the site makes it: breadcrumbs, an organization, the pictures."""
    pictures = [
        {"@context": "http://schema.org/", "@type": "ImageObject", "description": text}
        for text in descriptions
    ]
    crumbs = {"@type": "BreadcrumbList", "description": "no picture"}
    return (
        "<!doctype html><html><head><title>x</title><script>var a = '<p>';</script>"
        f'<script type="application/ld+json">{json.dumps(crumbs)}</script>'
        f'<script data-react type="application/ld+json">{json.dumps(pictures)}</script>'
        "</head><body><p>found</p></body></html>"
    )


@dataclass
class Site:
    """Each class has `pages` pages of two descriptions, then empty ones.

    Attributes:
        requests: (class, page) in the order they came; robots.txt is ("robots.txt", 0).
        trouble: (class, page) -> what to do instead, once for each entry.
        robots: text of robots.txt, or a status.
    """

    pages: int = 3
    url: str = ""
    robots: str | int = 404
    requests: list[tuple[str, int]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    trouble: dict[tuple[str, int], list[Answer]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def descriptions(self, name: str, page: int) -> list[str]:
        return [f"A {name} number {page}{c}" for c in "ab"] if page <= self.pages else []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        page = int(parse_qs(parts.query).get("page", ["0"])[0])
        name = unquote(parts.path.rpartition("/")[2])
        with self.lock:
            self.requests.append((name, page))
            self.agents.add(handler.headers["User-Agent"])
            waiting = self.trouble.get((name, page), [])
            trouble = waiting.pop(0) if waiting else None
        if trouble:
            trouble(handler)
        elif name == "robots.txt":
            known = isinstance(self.robots, str)
            send(handler, 200 if known else self.robots, self.robots if known else "")
        else:
            send(handler, 200, search_page(*self.descriptions(name, page)))


def send(handler: BaseHTTPRequestHandler, status: int, body: str | bytes, **headers: str) -> None:
    data = body.encode() if isinstance(body, str) else body
    handler.send_response(status)
    headers.setdefault("Content-Length", str(len(data)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def status(number: int, **headers: str) -> Answer:
    return lambda handler: send(handler, number, "sorry", **headers)


def text(body: str | bytes, **headers: str) -> Answer:
    return lambda handler: send(handler, 200, body, **headers)


class FakeTime:
    """Time that passes only where somebody waits."""

    def __init__(self) -> None:
        self.seconds, self.waits = 1000.0, list[float]()
        self._lock = threading.Lock()
        self.clock = Clock(now=lambda: self.seconds, wait=self._wait)

    def _wait(self, seconds: float, stop: threading.Event) -> None:
        with self._lock:
            if not stop.is_set():
                self.waits.append(seconds)
                self.seconds += seconds
