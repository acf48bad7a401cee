from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from search_site import FakeTime, Site, search_page, send, status, text

from tfrecords.core.errors import InputError
from tfrecords.crawler import fetching
from tfrecords.crawler.crawl import ClassReport, CrawlOptions, CrawlReport, crawl_descriptions
from tfrecords.formats.text.reading import plan_parts, read_part
from tfrecords.formats.text.sources import TextSource

ROOT = Path(__file__).resolve().parents[3]


def options(site: Site, folder: Path, **changes: Any) -> CrawlOptions:
    values: dict[str, Any] = {"folder": folder, "classes": ["dog", "cat"], "base_url": site.url}
    return CrawlOptions(**{**values, **changes})


def crawl(site: Site, folder: Path, time: FakeTime, **changes: Any) -> CrawlReport:
    return crawl_descriptions(options(site, folder, **changes), clock=time.clock)


def published(folder: Path, name: str) -> dict[str, list[str]]:
    data = json.loads((folder / f"{name}.json").read_text())
    assert all(set(item) == {"description"} for page in data.values() for item in page)
    return {page: [item["description"] for item in items] for page, items in data.items()}


def whole(site: Site, name: str) -> dict[str, list[str]]:
    return {str(page): site.descriptions(name, page) for page in range(1, site.pages + 2)}


def test_every_page_of_every_class_is_fetched_once(
    site: Site, tmp_path: Path, time: FakeTime
) -> None:
    report = crawl(site, tmp_path, time, classes=["Dog", "hair  drier", "dog"], user_agent="me/1")
    assert report.finished and set(report.classes) == {"dog", "hair drier"}
    assert report.classes["dog"] == ClassReport(pages=4, descriptions=6, failed=0, finished=True)
    for name in report.classes:
        assert published(tmp_path, name) == whole(site, name)
    assert site.agents == {"me/1"}
    expected = {(name, page) for name in report.classes for page in (1, 2, 3, 4)}
    assert Counter(site.requests) == Counter({*expected, ("robots.txt", 0)})
    # One request a second, whichever thread asks: the first waits for nobody.
    assert sum(time.waits) == pytest.approx(len(expected) - 1)

    sentences = [s for part in plan_parts(TextSource(tmp_path)) for s in read_part(part)]
    assert sorted(map(str, sentences)) == sorted(
        chain(*(site.descriptions(n, p) for n in report.classes for p in (1, 2, 3)))
    )
    site.requests.clear()
    again = crawl(site, tmp_path, time, classes=["dog", "hair drier"])
    assert again == report and site.requests == [("robots.txt", 0)]


def test_more_pages_go_on_from_those_there_are(site: Site, tmp_path: Path, time: FakeTime) -> None:
    first = crawl(site, tmp_path, time, classes=["dog"], pages=2)
    assert first.finished and set(published(tmp_path, "dog")) == {"1", "2"}
    site.requests.clear()
    crawl(site, tmp_path, time, classes=["dog"], pages=9)
    assert site.requests[1:] == [("dog", 3), ("dog", 4)]
    assert published(tmp_path, "dog") == whole(site, "dog")


def test_sites_that_end_otherwise(site: Site, tmp_path: Path, time: FakeTime) -> None:
    same = search_page(*site.descriptions("cat", 3))
    site.trouble = {("dog", 3): [status(404)], ("cat", 4): [text(same)], ("bus", 1): [status(410)]}
    report = crawl(site, tmp_path, time, classes=["dog", "cat", "bus"])
    assert report.finished
    assert published(tmp_path, "dog")["3"] == [] == published(tmp_path, "cat")["4"]
    assert published(tmp_path, "bus") == {"1": []}


def endless(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x" * 1000)


def hang_up(handler: Any) -> None:
    handler.connection.close()


TROUBLE = {
    "busy": status(429),
    "broken": status(500),
    "unavailable": status(503, Retry_After="nonsense"),
    "no page": text("<html>Are you a robot?</html>"),
    "no JSON": text('<script type="application/ld+json">[{"@type": </script>'),
    "half a page": text(search_page("a")[:-150]),
    "cut short": text(search_page("a"), Content_Length="9999"),
    "binary": text(bytes(range(256)) * 9),
    "empty": text(""),
    "endless": endless,
    "hang up": hang_up,
    "no HTTP": lambda handler: handler.wfile.write(b"\x00\x01 garbage\r\n\r\n"),
    "elsewhere": status(302, Location="http://example.invalid/x"),
}


@pytest.mark.parametrize("kind", TROUBLE)
def test_a_page_is_tried_again(
    site: Site, tmp_path: Path, time: FakeTime, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_MAX_BYTES", 5000)
    site.trouble = {("dog", 2): [TROUBLE[kind]] * 4}
    report = crawl(site, tmp_path, time, classes=["dog"], requests_per_second=1000)
    assert report.finished and published(tmp_path, "dog") == whole(site, "dog")
    assert Counter(site.requests)["dog", 2] == 5
    assert [wait for wait in time.waits if wait > 1] == [2, 4, 8, 16]


def test_a_page_that_fails_is_left_out_until_the_next_run(
    site: Site, tmp_path: Path, time: FakeTime
) -> None:
    site.trouble = {("dog", 2): [status(500)] * 5, ("dog", 3): [status(400)]}
    report = crawl(site, tmp_path, time, classes=["dog"])
    assert report.classes["dog"] == ClassReport(pages=2, descriptions=2, failed=2, finished=False)
    assert not report.finished and set(published(tmp_path, "dog")) == {"1", "4"}
    assert Counter(site.requests)["dog", 3] == 1  # another attempt would be the same request
    site.requests.clear()
    assert crawl(site, tmp_path, time, classes=["dog"]).finished
    assert site.requests[1:] == [("dog", 2), ("dog", 3)]
    assert published(tmp_path, "dog") == whole(site, "dog")


def test_a_class_is_given_up_and_taken_up_again(site: Site, tmp_path: Path, time: FakeTime) -> None:
    site.pages = 9
    site.trouble = {("dog", page): [status(500)] * 2 for page in (2, 3, 4)}
    report = crawl(site, tmp_path, time, attempts=2, threads=1)
    assert report.classes["dog"] == ClassReport(pages=1, descriptions=2, failed=3, finished=False)
    assert report.classes["cat"].finished and ("dog", 5) not in site.requests
    assert crawl(site, tmp_path, time).finished
    assert published(tmp_path, "dog") == whole(site, "dog")


def test_a_site_that_is_down_is_left_alone(site: Site, tmp_path: Path, time: FakeTime) -> None:
    names = [f"class {letter}" for letter in "abcdefgh"]
    site.trouble = {(name, page): [status(502)] * 9 for name in names for page in range(9)}
    with pytest.raises(InputError, match=r"7 pages failed in a row, the last: .*HTTP 502"):
        crawl(site, tmp_path, time, classes=names, threads=2, attempts=2)
    assert len(site.requests) < 25 and not list(tmp_path.glob("*.json"))


def test_retry_after_holds_all_threads(site: Site, tmp_path: Path, time: FakeTime) -> None:
    site.trouble = {("dog", 1): [status(429, Retry_After="120")]}
    crawl(site, tmp_path, time, classes=["dog"], requests_per_second=1000)
    assert time.waits[:2] == [2, pytest.approx(118)]
    limit = fetching.RateLimit(10, time.clock, threading.Event())
    limit.delay(7)
    before = time.seconds
    limit.wait_turn()
    assert time.seconds - before == pytest.approx(7)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30), ("0", 0), ("-1", 0), ("1.5", 0), ("", 0), ("soon", 0), ("9" * 400, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 2.5e11),
        ("Fri, 31 Dec 9999 23:59:59", 2.5e11), ("Fri, 99 Dec 99999999999 00:00:00 GMT", 0),
    ],
)  # fmt: skip
def test_retry_after_values(value: str, seconds: float) -> None:
    assert fetching._retry_after(value) == pytest.approx(seconds, rel=0.1)


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (status(403), r"the site refuses .*/dog\?.* \(HTTP 403\) to the user agent 'r2m-crawler"),
        (status(429, Retry_After="86400"), "requests a wait of 86400 seconds"),
    ],
)
def test_a_site_that_refuses_ends_the_crawl(
    site: Site, tmp_path: Path, time: FakeTime, trouble: Any, message: str
) -> None:
    site.trouble = {("dog", 2): [trouble]}
    with pytest.raises(InputError, match=message):
        crawl(site, tmp_path, time, classes=["dog"])
    site.requests.clear()
    assert crawl(site, tmp_path, time, classes=["dog"]).finished
    assert ("dog", 1) not in site.requests


@pytest.mark.parametrize("slow", ["silence", "headers", "body"])
def test_slow_answers_end_in_time(site: Site, tmp_path: Path, time: FakeTime, slow: str) -> None:
    done = threading.Event()

    def trickle(handler: Any) -> None:
        if slow == "body":
            handler.send_response(200)
            handler.end_headers()
        if slow == "silence":
            done.wait(5)
        for byte in repeat(b"x", 500):
            handler.wfile.write(byte)
            if done.wait(0.02):
                return

    site.trouble = {("dog", 1): [trickle]}
    assert crawl(site, tmp_path, time, classes=["dog"], timeout=0.3).finished
    done.set()
    assert Counter(site.requests)["dog", 1] == 2


def test_redirections_on_the_site_are_followed(site: Site, tmp_path: Path, time: FakeTime) -> None:
    site.trouble = {("dog", 1): [status(301, Location="/search/dog-photos?page=1")]}
    assert crawl(site, tmp_path, time, classes=["dog"]).finished
    assert published(tmp_path, "dog")["1"] == site.descriptions("dog-photos", 1)


@pytest.mark.parametrize(
    ("robots", "message"),
    [
        ("User-agent: *\nDisallow: /search/cat", r"does not allow 'r2m-crawler.* fetch .*/cat\?"),
        ("User-agent: *\nDisallow: /*?*page=", "does not allow"),
        ("User-agent: R2M-Crawler\nDisallow: /\nUser-agent: *\nAllow: /", "does not allow"),
        (500, "robots.txt of the site cannot be read: .*HTTP 500"),
        (403, "the site refuses .*robots.txt"),
    ],
)
def test_robots_txt_is_obeyed(
    site: Site, tmp_path: Path, time: FakeTime, robots: Any, message: str
) -> None:
    site.robots = robots
    with pytest.raises(InputError, match=message):
        crawl(site, tmp_path, time)
    assert {name for name, _ in site.requests} == {"robots.txt"}
    site.requests.clear()
    assert crawl(site, tmp_path, time, ignore_robots=True).finished
    assert ("robots.txt", 0) not in site.requests


def test_robots_txt_may_ask_for_patience(site: Site, tmp_path: Path, time: FakeTime) -> None:
    site.robots = "User-agent: r2m-crawler\nCrawl-delay: 10\nDisallow: /account"
    crawl(site, tmp_path, time, requests_per_second=5)
    assert sum(time.waits) == pytest.approx(10 * (len(site.requests) - 2))


def test_files_stay_in_the_folder(site: Site, tmp_path: Path, time: FakeTime) -> None:
    folder = tmp_path / "out"
    names = ["../up", "/etc/x", ".hidden", "a/b", "caf\u00e9, \u72ac", "100% cotton"]
    report = crawl(site, folder, time, classes=names)
    assert report.finished and len(list(folder.glob("*.json"))) == len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {name for name, _ in site.requests} >= {"caf\u00e9, \u72ac", "100% cotton"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": []}, "no class"),
        ({"classes": ["dog", ".."]}, r"the class '\.\.' cannot be a search term"),
        ({"classes": ["x" * 300]}, "at most 200 characters"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"requests_per_second": 0.0}, "requests_per_second must be above 0"),
        ({"timeout": float("nan")}, "timeout must be above 0"),
        ({"base_url": "file:///etc"}, "base_url must be http"),
        ({"base_url": "http://"}, "base_url must be http"),
        ({"user_agent": "a\r\nX: y"}, "user_agent must be a line of ASCII"),
    ],
)
def test_options_are_checked(
    site: Site, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        options(site, tmp_path, **change)


def test_a_strange_file_is_in_the_way(site: Site, tmp_path: Path, time: FakeTime) -> None:
    (tmp_path / "dog.json").write_text('{"annotations": []}')
    with pytest.raises(InputError, match=r"dog\.json was not written by this crawler"):
        crawl(site, tmp_path, time)


def test_stopping_keeps_the_pages(site: Site, tmp_path: Path, time: FakeTime) -> None:
    stop = threading.Event()

    def ask_to_stop(handler: Any) -> None:
        stop.set()
        threading.Event().wait(0.3)
        send(handler, 200, search_page("late"))

    site.trouble = {("dog", 3): [ask_to_stop]}
    found = crawl_descriptions(
        options(site, tmp_path, classes=["dog"]), stop=stop, clock=time.clock
    )
    assert found.stopped and not found.finished and not (tmp_path / "dog.json").exists()
    site.requests.clear()
    assert crawl(site, tmp_path, time, classes=["dog"]).finished
    assert site.requests[1:] == [("dog", 3), ("dog", 4)]
    assert published(tmp_path, "dog") == whole(site, "dog")
    # Before anything was fetched.
    assert crawl_descriptions(options(site, tmp_path / "b"), stop=stop).stopped


SCRIPT = """
import sys
from pathlib import Path
from tfrecords.crawler.crawl import CrawlOptions, crawl_descriptions
crawl_descriptions(CrawlOptions(folder=Path(sys.argv[1]), classes=["dog", "cat"],
                                base_url=sys.argv[2], requests_per_second=1e5))
"""


def test_a_killed_crawl_goes_on(site: Site, tmp_path: Path, time: FakeTime) -> None:
    site.pages = 30
    reached, never = threading.Event(), threading.Event()

    def signal_and_wait(handler: Any) -> None:
        reached.set()
        never.wait(10)

    site.trouble = {("dog", 20): [signal_and_wait], ("cat", 20): [signal_and_wait]}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), site.url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert reached.wait(20)
    with pytest.raises(InputError, match="another process is writing to"):
        crawl(site, tmp_path, time)
    process.send_signal(signal.SIGKILL)
    process.wait()
    never.set()
    site.trouble = {}
    assert crawl(site, tmp_path, time).finished
    for name in ("dog", "cat"):
        assert published(tmp_path, name) == whole(site, name)
    twice = {key for key, count in Counter(site.requests).items() if count > 1} - {
        ("robots.txt", 0)
    }
    # Lost are the pages under way, one a class.
    assert len({name for name, _ in twice}) == len(twice)


def test_the_script_is_stopped(site: Site, tmp_path: Path, time: FakeTime) -> None:
    reached = threading.Event()

    def signal_and_wait(handler: Any) -> None:
        reached.set()
        threading.Event().wait(5)

    site.trouble = {("dog", 2): [signal_and_wait]}
    (tmp_path / "classes.txt").write_text("Dog\ncat\n")
    folder = tmp_path / "raw"
    # Without the wrapper of all scripts, which loads TensorFlow.
    main = "import sys; from absl import flags; from r2m.cli import crawl_descriptions as script;"
    main += "flags.FLAGS(sys.argv); sys.exit(script.main([]))"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", main, f"--output={folder}"),
            *(f"--base_url={site.url}", f"--label_map={tmp_path / 'classes.txt'}"),
            *("--requests_per_second=1000", "--threads=1"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert reached.wait(100)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and "stopped: the same command resumes" in out
    assert "Traceback" not in err
    assert crawl(site, folder, time).finished and Counter(site.requests)["dog", 1] == 1
