from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_site import search_page

from tfrecords.crawler.pages import NoSearchPageError, read_descriptions
from tfrecords.crawler.robots import Robots, parse_robots


def block(content: object) -> str:
    return f'<SCRIPT TYPE="application/ld+json">{json.dumps(content)}</SCRIPT >'


@given(
    st.lists(
        st.text(
            st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="<&\ufffd"),
            min_size=1,
        )
    )
)
def test_descriptions_come_back(descriptions: list[str]) -> None:
    wanted = [text.strip() for text in descriptions if text.strip()]
    assert read_descriptions(search_page(*descriptions)) == wanted


@pytest.mark.parametrize(
    ("page", "descriptions"),
    [
        (
            block({"@type": "ImageObject", "description": "Cats &amp; dogs\n run"}),
            ["Cats & dogs\n run"],
        ),
        (block([{"@type": ["Thing", "ImageObject"], "description": "a"}]), ["a"]),
        (
            block([{"description": "a"}, {"@type": "WebPage", "description": "b"}, 3, None, "c"]),
            ["a"],
        ),
        (block([{"description": 3}, {"description": " "}, {"description": "bad \ufffd"}]), []),
        ("\u0130" * 5 + block([{"description": "\u0130"}]), ["\u0130"]),
        ("<script>1</script><script src=x></script>" + block([]) + "<script>", []),
        (search_page(), []),
    ],
)
def test_what_counts_as_a_description(page: str, descriptions: list[str]) -> None:
    assert read_descriptions(f"<html>{page}</HTML >\n") == descriptions


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("", "the page is truncated"),
        (search_page("a")[:-100], "the page is truncated"),
        ("<html>captcha</html>", "no JSON-LD block"),
        (block([])[:-3] + "</html>", "no JSON-LD block"),
        ('<script type="application/ld+json">{</script></html>', "that is not JSON"),
        (f'<script type="application/ld+json">{"[" * 10**5}</script></html>', "that is not JSON"),
        (f'<script type="application/ld+json">{"1" * 10**4}</script></html>', "that is not JSON"),
    ],
)
def test_what_is_no_search_page(page: str, message: str) -> None:
    with pytest.raises(NoSearchPageError, match=message):
        read_descriptions(page)


@given(st.text(st.sampled_from('<script type="ld+json">/[]{}:,a1'), max_size=80))
def test_any_text_is_a_page_or_none(page: str) -> None:
    for text in (page, f'<script type="application/ld+json">{page}</script></html>'):
        with contextlib.suppress(NoSearchPageError):
            assert isinstance(read_descriptions(text), list)


@pytest.mark.parametrize(
    "page", ["<script" * 10**6, "<script>" * 10**6, "<script></script" * 10**5]
)
def test_no_page_takes_long(page: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(NoSearchPageError, match="no JSON-LD block"):
        read_descriptions(page + "</html>")
    assert time.perf_counter() - begin < 5


ROBOTS = """
# a comment
User-agent: other
User-agent: R2M-Crawler # with a comment
Disallow: /private
Allow: /private/open
Disallow: /*.pdf$
Disallow: /search/*&page=2*
Crawl-delay: 2.5
nonsense

User-agent: *
Disallow: /
"""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", True), ("", True), ("/private", False), ("/private/x", False), ("/privat", True),
        ("/private/open/x", True), ("/a.pdf", False), ("/a.pdf?x", True), ("/a.pdf.html", True),
        ("/search/dog?a=1&page=2", False), ("/search/dog?a=1&page=3", True),
        ("/%70rivate", False), ("/robots.txt", True),
    ],
)  # fmt: skip
def test_robots_rules(path: str, allowed: bool) -> None:
    robots = parse_robots(ROBOTS, "r2m-crawler/0.1 (x)")
    assert robots.allows(f"http://x.org{path}") == allowed
    assert robots.delay == 2.5
    assert not parse_robots(ROBOTS, "Somebody/1").allows(f"http://x.org{path}")
    assert Robots().allows(f"http://x.org{path}")


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", True), ("User-agent: *\nDisallow:", True), ("Disallow: /", True),
        ("\ufeffgarbage\0\nUser-agent *\nDisallow: /", True),
        ("user-agent: *\ndisallow: /\nallow: /", True),
        ("User-agent: *\nCrawl-delay: nan\nDisallow: /a\nUser-agent: *\nDisallow: /x", False),
    ],
)  # fmt: skip
def test_odd_robots(text: str, allowed: bool) -> None:
    robots = parse_robots(text, "me")
    assert robots.allows("http://x.org/x") == allowed and robots.delay == 0


def test_patterns_take_no_time() -> None:
    robots = parse_robots(f"User-agent: *\nDisallow: /{'*a' * 10**4}b", "me")
    begin = time.perf_counter()
    assert robots.allows(f"http://x.org/{'a' * 10**5}")
    assert time.perf_counter() - begin < 1
