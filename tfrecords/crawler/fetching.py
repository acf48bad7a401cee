"""Polite page fetching: one rate limit for all threads, back-off, a time limit per request.

This module does not use `requests`: its timeout limits the silence between two bytes, not the whole
request, and the retries of `urllib3` neither share a rate limit nor end when the crawl is stopped.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit

from tfrecords.core.errors import InputError

Content = TypeVar("Content")

_MAX_BYTES = 16 << 20
_LONGEST_BACK_OFF = 60.0
# If a site requests a longer wait, the crawl ends with an error.
_LONGEST_WAIT = 600.0
_NOT_FOUND = (404, 410)
_REFUSED = (401, 403, 407, 451)
_RETRYABLE = (408, 425, 429)


class Stopped(Exception):
    """The crawl was stopped."""


class PageFailedError(Exception):
    """A page could not be fetched after all attempts."""


class _TryAgainError(Exception):
    """Failure of one attempt, after which the page is requested again."""


@dataclass(frozen=True)
class Clock:
    """Source of time, replaced in tests.

    Attributes:
        now: returns the seconds since an arbitrary moment.
        wait: waits for the given number of seconds, or until the event is set.
    """

    now: Callable[[], float] = time.monotonic
    wait: Callable[[float, threading.Event], Any] = lambda seconds, stop: stop.wait(seconds)


class RateLimit:
    """Rate limit for threads: each turn begins a fixed time after the previous one."""

    def __init__(self, per_second: float, clock: Clock, stop: threading.Event) -> None:
        """Initializes the limit of `per_second` turns per second for all threads."""
        self._seconds, self._clock, self._stop = 1 / per_second, clock, stop
        self._lock, self._next = threading.Lock(), clock.now()

    def wait_turn(self) -> None:
        """Returns when it is the caller's turn.

        Raises:
            Stopped: the crawl ends.
        """
        while not self._stop.is_set():
            with self._lock:
                now = self._clock.now()
                if now >= self._next:
                    self._next = now + self._seconds
                    return
                seconds = self._next - now
            self._clock.wait(seconds, self._stop)
        raise Stopped

    def delay(self, seconds: float) -> None:
        """Delays the turns of all threads by this time."""
        with self._lock:
            self._next = max(self._next, self._clock.now() + seconds)


class Fetcher:
    """Fetches pages of one site for many threads."""

    def __init__(
        self,
        *,
        user_agent: str,
        limit: RateLimit,
        attempts: int,
        timeout: float,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        """Initializes a fetcher; `timeout` is per request, in seconds; see `CrawlOptions`."""
        self._headers = {
            "User-Agent": user_agent,
            "Accept": "text/html,application/xhtml+xml",
            "Accept-Encoding": "identity",
        }
        self._limit, self._attempts, self._timeout = limit, attempts, timeout
        self._clock, self._stop = clock, stop
        self._tls = ssl.create_default_context()
        self._requests: set[_Request] = set()

    def fetch(self, url: str, read: Callable[[str], Content]) -> Content | None:
        """Returns the content of a page; None if the site reports that the page does not exist.

        Args:
            url: URL of the page.
            read: parses the text of the page; a ValueError means a wrong page, which is requested
                again.

        Raises:
            PageFailedError: all attempts failed, or another attempt is useless.
            InputError: the site refuses, or requests a long wait.
            Stopped: the crawl ends.
        """
        for attempt in range(1, self._attempts + 1):
            self._limit.wait_turn()
            try:
                text = self._get(url)
                return None if text is None else read(text)
            except InputError:
                raise
            except (_TryAgainError, ValueError) as error:
                problem = error
            if self._stop.is_set():
                raise Stopped
            if attempt < self._attempts:
                self._clock.wait(min(2.0**attempt, _LONGEST_BACK_OFF), self._stop)
        raise PageFailedError(f"{url}: {problem} (tried {self._attempts} times)")

    def end_requests(self) -> None:
        """Ends the running requests, from another thread."""
        for request in list(self._requests):
            request.end()

    def _get(self, url: str) -> str | None:
        request = _Request()
        self._requests.add(request)
        watch = threading.Timer(self._timeout, request.end)
        watch.daemon = True
        watch.start()
        try:
            return self._read(request, url)
        except HTTPError as error:
            error.close()
            self._raise_for_status(url, error.code, error.headers)
            return None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            late = request.ended or isinstance(reason, TimeoutError)
            raise _TryAgainError(
                f"no answer in {self._timeout:g} s" if late else f"{type(reason).__name__} {reason}"
            ) from None
        finally:
            watch.cancel()
            self._requests.discard(request)

    def _read(self, request: _Request, url: str) -> str:
        opener = urllib.request.build_opener(
            _Http(request), _Https(request, self._tls), _SameSite()
        )
        with opener.open(
            urllib.request.Request(url, headers=self._headers), timeout=self._timeout
        ) as response:
            body = response.read(_MAX_BYTES + 1)
            length = response.headers.get("Content-Length", "")
            charset = response.headers.get_content_charset("utf-8")
        if len(body) > _MAX_BYTES:
            raise _TryAgainError(f"more than {_MAX_BYTES} bytes")
        if request.ended:
            raise TimeoutError
        if length.isdigit() and len(body) < int(length):
            raise _TryAgainError(f"{len(body)} bytes, expected {length}")
        try:
            return body.decode(charset, errors="replace")
        except (LookupError, ValueError):
            return body.decode(errors="replace")

    def _raise_for_status(self, url: str, status: int, headers: Message) -> None:
        """Handles an unsuccessful response: returns for a missing page, else raises an error."""
        if status in _NOT_FOUND:
            return
        if status in _REFUSED:
            raise InputError(
                f"the site refuses {url} (HTTP {status}) to the user agent "
                f"{self._headers['User-Agent']!r}. Fetched pages are kept. Ask the site for "
                "permission, or try again later"
            )
        if status not in _RETRYABLE and status < 500:
            raise PageFailedError(f"{url}: HTTP {status}")
        if seconds := _retry_after(headers.get("Retry-After", "")):
            if seconds > _LONGEST_WAIT:
                raise InputError(
                    f"the site requests a wait of {seconds:.0f} seconds (HTTP {status}). Fetched "
                    "pages are kept: run the same command again after that time"
                )
            self._limit.delay(seconds)
        raise _TryAgainError(f"HTTP {status}")


class _Request:
    """The sockets of a request, so that it can be ended even while bytes arrive slowly."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self.ended = False

    def add(self, connection: http.client.HTTPConnection) -> None:
        self._sockets.append(connection.sock)
        if self.ended:
            self.end()

    def end(self) -> None:
        self.ended = True
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Http(urllib.request.HTTPHandler):
    def __init__(self, request: _Request) -> None:
        super().__init__()
        self._request = request

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_WatchedHttp, self._request), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, request: _Request, tls: ssl.SSLContext) -> None:
        super().__init__()
        self._request, self._tls = request, tls

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        connection = partial(_WatchedHttps, self._request, context=self._tls)
        return self.do_open(connection, req)


class _WatchedHttp(http.client.HTTPConnection):
    def __init__(self, request: _Request, host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self._request = request

    def connect(self) -> None:
        super().connect()
        self._request.add(self)


class _WatchedHttps(http.client.HTTPSConnection):
    def __init__(self, request: _Request, host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self._request = request

    def connect(self) -> None:
        super().connect()
        self._request.add(self)


class _SameSite(urllib.request.HTTPRedirectHandler):
    """Follows redirections within the site only: another site's robots.txt was not checked."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: Any,
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).hostname != urlsplit(req.full_url).hostname:
            raise _TryAgainError(f"redirected to another site ({newurl:.200})")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _retry_after(value: str) -> float:
    """Returns the seconds of a `Retry-After` header, a number or a date; 0 if it has none."""
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max((date - datetime.now(timezone.utc)).total_seconds(), 0.0)
