"""Fetches descriptions of stock photographs by a Shutterstock search for each class of a detector.

    r2m-crawl-descriptions --label_map=mscoco_label_map.pbtxt --output=raw/shutterstock \\
        --user_agent="r2m-crawler/0.1 (you@example.org)"
    r2m-build-corpora --source=shutterstock:raw/shutterstock --label_map=... --name=shutterstock

Writes one JSON file per class. After an interruption the same command resumes at the first missing
page and retries pages that failed. Respect the site's terms: the default is one request per second,
and pages that robots.txt forbids are not fetched. 80 classes with 1,000 pages
each take 80,000 requests, about a day.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from r2m.cli.flag_groups import INPUT, OUTPUT, REQUESTS
from r2m.cli.launch import run
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.value_flags import define_switch, define_text, define_texts
from tfrecords.crawler.crawl import BASE_URL, USER_AGENT, CrawlOptions, crawl_descriptions
from tfrecords.language.label_maps import read_label_map

_LABEL_MAP = define_texts(
    "label_map",
    None,
    "Classes to search for: a TensorFlow label map (.pbtxt), one name per line, CSV id,name, or "
    "JSON with COCO categories. Repeat the flag for several.",
    required=True,
    group=INPUT,
    value="FILE",
)
_OUTPUT = define_text(
    "output", None, "Folder of the JSON files.", required=True, group=OUTPUT, value="FOLDER"
)
# Flags have the names of the fields of CrawlOptions.
_OPTIONS: list[flags.FlagHolder[Any]] = [
    define_text(
        "base_url",
        BASE_URL,
        "URL of the search; BASE_URL/CLASS returns the results for a class.",
        group=REQUESTS,
        value="URL",
    ),
    define_whole(
        "pages", 1000, "Maximum number of search pages per class.", least=1, group=REQUESTS
    ),
    define_whole(
        "threads", 4, "Classes fetched at the same time.", least=1, most=1_000, group=REQUESTS
    ),
    define_number(
        "requests_per_second",
        1.0,
        "Maximum rate of requests of all threads together.",
        above=0,
        below=1e6,
        group=REQUESTS,
    ),
    define_whole("attempts", 5, "Attempts per page before it is skipped.", least=1, group=REQUESTS),
    define_number(
        "timeout",
        30.0,
        "Seconds after which an attempt fails.",
        above=0,
        below=1e6,
        group=REQUESTS,
    ),
    define_text(
        "user_agent",
        USER_AGENT,
        "User agent of the requests; add a contact address.",
        group=REQUESTS,
        value="AGENT",
    ),
    define_switch(
        "ignore_robots",
        False,
        "Fetch pages that robots.txt forbids; only with permission of the site.",
        group=REQUESTS,
    ),
]


def main(argv: Sequence[str]) -> int:
    """Crawls and prints the number of descriptions; returns 0 if none are missing."""
    del argv
    stop = threading.Event()

    def end(number: int, frame: Any) -> None:
        del frame
        # Set from a thread, because this one may hold the event's lock.
        threading.Thread(target=stop.set).start()
        signal.signal(number, signal.SIG_DFL)  # a second signal ends the process at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    classes = [name for path in _LABEL_MAP.value for name in read_label_map(path).classes.values()]
    report = crawl_descriptions(
        CrawlOptions(
            folder=Path(_OUTPUT.value),
            classes=classes,
            **{option.name: option.value for option in _OPTIONS},
        ),
        stop=stop,
    )
    found = report.classes.values()
    print(
        f"{_OUTPUT.value}: {sum(c.descriptions for c in found)} descriptions on "
        f"{sum(c.pages for c in found)} pages of {len(found)} classes"
    )
    unfinished = [name for name, c in report.classes.items() if not c.finished]
    if unfinished:
        failed = sum(c.failed for c in found)
        print(f"{failed} pages failed ({', '.join(unfinished)}): the same command tries them again")
    if report.stopped:
        print("stopped: the same command resumes")
    return 0 if report.finished else 1


console = partial(run, main, uses_tensorflow=False)

if __name__ == "__main__":
    console()
