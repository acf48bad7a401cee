"""The app in headless Chromium: upload, caption, errors and search, as by a user."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import BROWSER, needs_browser
from retrieval_runs import WordEmbedding, paint

from r2m.inference.search import index_builder
from r2m.serving.app.hosting import make_app, private_gradio
from r2m.serving.extra import importing

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("gradio", reason="gradio is not installed: pip install 'r2m[app]'")
pytestmark = needs_browser
WAIT = 30_000  # milliseconds
EVIL = (
    "<img src=x onerror=\"document.title='run'\"><script>document.title='run'<"
    "${document.title='run'}{{this}}"
)


@pytest.fixture(scope="module")
def url(old_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app with two models and an index."""
    folder = tmp_path_factory.mktemp("app")
    paint(folder / "pictures", "a_dog", "a_cat", "two_dog_beach", "city_night", f"cat_{EVIL}")
    model: Any = WordEmbedding(folder / "run")
    built = index_builder.build_index(model, folder / "index", images=[folder / "pictures"])
    with private_gradio(), importing("app"):
        import uvicorn

        from r2m.serving.app.app_models import load_models
        from r2m.serving.app.page import SearchedIndex, make_page
        from r2m.serving.listening import bind, url_of

        runs = [str(old_runs / "runs" / name) for name in ("att2in2", "r2m/tri")]
        page = make_page(load_models(runs, ()), SearchedIndex(built.opened, model))
        bound = bind("127.0.0.1", 0)
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(page, "127.0.0.1", 100_000), log_level="warning",
                timeout_graceful_shutdown=1,
            )
        )  # fmt: skip
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        yield url_of(bound)
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def tab(url: str) -> Iterator[Any]:
    """The opened page; fails on requests to other servers and on scripts in user text."""
    asked: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(url)
        tab.get_by_role("tab", name="Caption").wait_for(timeout=WAIT)
        yield tab
        assert tab.title() == "R2M"
        hosts = {urllib.parse.urlsplit(own).netloc for own in asked if not own.startswith("data:")}
        assert hosts - {""} == {urllib.parse.urlsplit(url).netloc}
        browser.close()


def upload(tab: Any, name: str, content: bytes) -> str:
    """Uploads a file, which replaces the previous one; returns the answer."""
    if tab.get_by_label("Clear").count():
        tab.get_by_label("Clear").first.click()
        tab.locator(".r2m:visible").wait_for(state="detached", timeout=WAIT)
    files = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    tab.locator("#image-file input[type=file]").set_input_files(files)
    return answer(tab)


def answer(tab: Any, part: str = ".r2m:visible") -> str:
    tab.locator(part).first.wait_for(timeout=WAIT)
    shown: str = tab.locator(".r2m:visible").inner_text()
    return shown


def test_an_upload_is_captioned(tab: Any, image_files: list[bytes]) -> None:
    shown = upload(tab, f"{EVIL}.png", image_files[0])
    assert "Attention per word" in shown and "search score" in shown and "onerror" in shown
    assert tab.locator(".r2m .caption").inner_text().startswith("a ")
    assert tab.locator(".r2m .alternatives li").count() == 2
    # The picture and one panel per word.
    assert tab.locator(".r2m img").count() == 1 + tab.locator(".r2m .panels li").count() > 2


def test_errors_are_shown_in_the_page(tab: Any, image_files: list[bytes]) -> None:
    shown = upload(tab, "notes.txt", b"some text, no picture")
    assert shown.startswith("notes.txt cannot be read: ") and "Upload a picture" in shown
    assert "cut.png cannot be read" in upload(tab, "cut.png", image_files[0][:200])
    assert "Traceback" not in tab.content()


def choose(tab: Any, model: str) -> None:
    tab.get_by_label("Model").click()
    tab.get_by_role("option", name=model).click()


def test_another_model_captions_other_things(tab: Any, image_files: list[bytes]) -> None:
    upload(tab, "a.png", image_files[0])
    choose(tab, "r2m/tri")
    tab.locator(".r2m:visible").wait_for(state="detached", timeout=WAIT)
    tab.get_by_label("Concepts").fill("flower, moon")
    tab.get_by_role("button", name="Caption concepts").click()
    assert "moon" in answer(tab, ".r2m .chips")
    tab.get_by_label("Concepts").fill("unicorn")
    tab.get_by_label("Concepts").press("Enter")
    assert "no concept 'unicorn'" in answer(tab, ".r2m .problem")
    choose(tab, "att2in2")
    assert "Attention per word" in answer(tab, ".r2m .panels") and "a.png" in answer(tab)


def test_a_search_shows_pictures(tab: Any) -> None:
    tab.get_by_role("tab", name="Search").click()
    tab.get_by_role("textbox", name="Search").fill("a cat")
    tab.get_by_role("button", name="Search").click()
    shown = answer(tab, ".r2m .card")
    assert shown.split("\n")[0] == "1. a_cat.png" and EVIL in shown
    assert tab.locator(".r2m .card img").count() == 5
    tab.get_by_role("textbox", name="Search").fill("xyzzy")
    tab.get_by_role("button", name="Search").click()
    assert "no word among" in answer(tab, ".r2m:visible .problem")


def test_urls_and_other_files_are_refused(url: str, tab: Any) -> None:
    """The page's API refuses files that were not uploaded."""
    page = f"{url}/gradio_api"
    config = tab.request.get(f"{url}/config").json()
    numbers = {own["targets"][0][1]: own["id"] for own in config["dependencies"] if own["targets"]}
    for path in ("http://127.0.0.1:9/a.png", "/etc/passwd"):
        data = ["att2in2/cross_entropy", {"path": path, "meta": {"_type": "gradio.FileData"}}]
        call = {"data": data, "fn_index": numbers["upload"], "session_hash": "abc"}
        assert tab.request.post(f"{page}/queue/join", data=call).status == 200
        told = tab.request.get(f"{page}/queue/data?session_hash=abc", timeout=WAIT).text()
        assert '"success":false' in told.replace(" ", "") and "root:" not in told
    assert tab.request.get(f"{page}/file=/etc/passwd").status == 403
    assert tab.request.get(url, headers={"Host": "other.example"}).status == 400
