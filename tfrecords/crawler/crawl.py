"""The crawl: classes in parallel, one page at a time, until each has no more results."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.core.files import clear_disk_errors, lock_file, make_folder
from tfrecords.crawler.class_file import STATE, ClassFile, file_name
from tfrecords.crawler.fetching import Clock, Fetcher, PageFailedError, RateLimit, Stopped
from tfrecords.crawler.pages import read_descriptions
from tfrecords.crawler.robots import Robots, parse_robots

BASE_URL = "https://www.shutterstock.com/search"
USER_AGENT = "r2m-crawler/0.1 (image captioning research)"
# Number of consecutive failed pages after which a class is abandoned until the next run.
_PATIENCE = 3


@dataclass(frozen=True, kw_only=True)
class CrawlOptions:
    """Options of a crawl.

    Attributes:
        folder: output folder, with one file per class.
        classes: search terms; case and repeated spaces are ignored.
        base_url: a class is searched for at `BASE_URL/CLASS?...&page=N`.
        pages: maximum number of search pages per class.
        threads: classes fetched at the same time.
        requests_per_second: rate limit for all threads together; robots.txt may lower it.
        attempts: maximum number of attempts per page.
        timeout: seconds for one request, to its last byte.
        user_agent: the user agent sent to the site.
        ignore_robots: whether to fetch pages that robots.txt disallows.
    """

    folder: Path
    classes: Sequence[str]
    base_url: str = BASE_URL
    pages: int = 1000
    threads: int = 4
    requests_per_second: float = 1.0
    attempts: int = 5
    timeout: float = 30.0
    user_agent: str = USER_AGENT
    ignore_robots: bool = False

    def __post_init__(self) -> None:
        """Checks the values one by one."""
        for name in ("pages", "threads", "attempts"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, found {getattr(self, name)}")
        for name in ("requests_per_second", "timeout"):
            if not 0 < getattr(self, name) < 1e6:
                raise InputError(f"{name} must be above 0, found {getattr(self, name)}")
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise InputError(f"base_url must be http(s)://HOST/..., found {self.base_url!r}")
        if not self.user_agent.isprintable() or not self.user_agent.isascii():
            raise InputError(f"user_agent must be a line of ASCII, found {self.user_agent!r}")
        if not self.classes:
            raise InputError("no class to search for")
        for name in self.classes:
            file_name(name)


@dataclass(frozen=True)
class ClassReport:
    """State of one class: its pages and captions so far.

    Attributes:
        pages: number of pages fetched, in all runs together.
        descriptions: number of descriptions on these pages.
        failed: number of pages that could not be fetched; the next run tries them again.
        finished: whether no page is left to fetch.
    """

    pages: int
    descriptions: int
    failed: int
    finished: bool


@dataclass(frozen=True)
class CrawlReport:
    """State of every class, and whether the crawl was stopped before its end."""

    classes: dict[str, ClassReport]
    stopped: bool

    @property
    def finished(self) -> bool:
        """True if all classes are complete."""
        return not self.stopped and all(found.finished for found in self.classes.values())


def crawl_descriptions(
    options: CrawlOptions, *, stop: threading.Event | None = None, clock: Clock | None = None
) -> CrawlReport:
    """Fetches the descriptions of all classes, except those fetched by earlier runs.

    The folder contains one file `<class>.json` per class, `{page: [{"description"}]}`; the last
    page is empty if the site had no more results. If the crawl is stopped or killed, only the pages
    being fetched are lost.

    Args:
        options: the options of the crawl.
        stop: ends the crawl if it is set; it is set on return.
        clock: source of time.

    Raises:
        InputError: robots.txt disallows the crawl or cannot be read, the site refuses or is down,
            the disk is full, another process uses the folder, or a file in it has another format.
    """
    stop, clock = stop or threading.Event(), clock or Clock()
    state = options.folder / STATE
    make_folder(state)
    with clear_disk_errors(options.folder):
        taken = f"another process is writing to {options.folder}: wait for it or stop it"
        with lock_file(state / "lock", taken):
            try:
                return _Crawl(options, stop, clock).run()
            except Stopped:
                return CrawlReport({}, stopped=True)


class _Crawl:
    def __init__(self, options: CrawlOptions, stop: threading.Event, clock: Clock) -> None:
        self._options, self._stop = options, stop
        self._fetcher, robots = self._allowed_fetcher(clock)
        if robots.delay > 1 / options.requests_per_second:
            logging.info("robots.txt requires %g seconds between requests", robots.delay)
        self._lock, self._failed_in_a_row = threading.Lock(), 0
        self._down: InputError | None = None
        self._fetched = 0

    def run(self) -> CrawlReport:
        """Crawls all classes."""
        names = list(dict.fromkeys(map(_search, self._options.classes)))
        reports: dict[str, ClassReport] = {}
        executor = ThreadPoolExecutor(self._options.threads)
        try:
            futures = {executor.submit(self._crawl_class, name): name for name in names}
            for future in self._as_they_finish(set(futures)):
                name, report = futures[future], future.result()
                if report is None:
                    continue
                reports[name] = report
                logging.info(
                    "%s: %d pages, %d descriptions%s (%d of %d classes)",
                    name,
                    report.pages,
                    report.descriptions,
                    f", {report.failed} pages failed" if report.failed else "",
                    len(reports),
                    len(names),
                )
        finally:
            self._stop.set()
            self._fetcher.end_requests()
            executor.shutdown(wait=True, cancel_futures=True)
        return CrawlReport(reports, stopped=len(reports) < len(names))

    def _allowed_fetcher(self, clock: Clock) -> tuple[Fetcher, Robots]:
        options = self._options

        def fetcher(per_second: float) -> Fetcher:
            return Fetcher(
                user_agent=options.user_agent,
                limit=RateLimit(per_second, clock, self._stop),
                attempts=options.attempts,
                timeout=options.timeout,
                clock=clock,
                stop=self._stop,
            )

        first = fetcher(options.requests_per_second)
        if options.ignore_robots:
            return first, Robots()
        parts = urlsplit(options.base_url)
        url = f"{parts.scheme}://{parts.netloc}/robots.txt"
        try:
            text = first.fetch(url, str)
        except PageFailedError as error:
            raise InputError(
                f"robots.txt of the site cannot be read: {error}. Nothing was fetched"
            ) from None
        robots = parse_robots(text or "", options.user_agent)
        for name in options.classes:
            if not robots.allows(page := self._url(_search(name), 1)):
                raise InputError(
                    f"{url} does not allow {options.user_agent!r} to fetch {page}. Ask the site "
                    "for permission (then set ignore_robots), or crawl another site"
                )
        return fetcher(1 / max(1 / options.requests_per_second, robots.delay)), robots

    def _as_they_finish(
        self, waiting: set[Future[ClassReport | None]]
    ) -> Iterator[Future[ClassReport | None]]:
        while waiting and not self._stop.is_set():
            # With a timeout, because signal handlers run between two waits.
            done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            yield from done

    def _url(self, name: str, page: int) -> str:
        base = self._options.base_url.rstrip("/")
        return f"{base}/{quote(name, safe='')}?image_type=photo&language=en&page={page}"

    def _crawl_class(self, name: str) -> ClassReport | None:
        """Fetches the missing pages of a class; returns None if the crawl was stopped before."""
        with contextlib.suppress(Stopped):
            file = ClassFile(self._options.folder, name)
            failed, finished = self._fetch_missing(file, name)
            file.publish()
            return ClassReport(
                pages=len(file.pages),
                descriptions=sum(map(len, file.pages.values())),
                failed=failed,
                finished=finished and not failed,
            )
        return None

    def _fetch_missing(self, file: ClassFile, name: str) -> tuple[int, bool]:
        """Fetches missing pages; returns the number of failures, and False if it gave up."""
        failed = in_a_row = 0
        for page in range(1, self._options.pages + 1):
            if page not in file.pages:
                try:
                    found = self._fetcher.fetch(self._url(name, page), read_descriptions) or []
                except PageFailedError as error:
                    logging.warning("%s", error)
                    self._note_failure(str(error))
                    failed, in_a_row = failed + 1, in_a_row + 1
                    if in_a_row == _PATIENCE:
                        return failed, False
                    continue
                self._failed_in_a_row = in_a_row = 0
                # After the last page some sites repeat it.
                file.add(page, [] if found == file.pages.get(page - 1) else found)
            if not file.pages[page]:
                break
        return failed, True

    def _note_failure(self, problem: str) -> None:
        with self._lock:
            self._failed_in_a_row += 1
            if not self._down and self._failed_in_a_row > _PATIENCE * self._options.threads:
                self._down = InputError(
                    f"{self._failed_in_a_row} pages failed in a row, the last: {problem}. Is the "
                    "site down? Fetched pages are kept: run the same command again later"
                )
            if self._down:
                # The other threads raise the same error.
                raise self._down


def _search(name: str) -> str:
    return " ".join(name.lower().split())
