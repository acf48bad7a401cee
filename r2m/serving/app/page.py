"""Page of the app: two tabs of Gradio components and their functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from absl import logging
from gradio.utils import get_upload_folder

from r2m.evaluation.pages.templates import style_sheet
from r2m.inference.retrieval_run import RetrievalRun
from r2m.inference.search.queries import make_queries
from r2m.inference.search.searching import page_results, search_index
from r2m.inference.search.vector_index import VectorIndex
from r2m.serving.app.answers import caption_answer, error_answer, search_answer
from r2m.serving.app.app_models import AppModel
from tfrecords.core.errors import InputError

_TITLE = "R2M"
_MOST_HITS = 50
_MOST_LETTERS = 1000  # maximum length of a query, and of concepts
# System fonts, so that none is loaded.
_FONTS = ("system-ui", "sans-serif")
_MONO = ("ui-monospace", "monospace")
_HIDDEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}


class Upload(NamedTuple):
    """A file that was dropped on the page.

    Attributes:
        path: path of the uploaded copy.
        name: file name given by the browser.
    """

    path: Path
    name: str


class SearchedIndex(NamedTuple):
    """An index with the model that made it."""

    vectors: VectorIndex
    model: RetrievalRun


def page_theme() -> Any:
    """Returns colors and fonts."""
    return gr.themes.Default(font=_FONTS, font_mono=_MONO)


def page_style() -> str:
    """Returns the style sheet of the answers."""
    return style_sheet("app.css")


def make_page(models: Sequence[AppModel], searched: SearchedIndex | None) -> Any:
    """Returns the page, a `gradio.Blocks`.

    Args:
        models: models to choose from; empty leaves out the tab for captions.
        searched: index to search; None leaves out the tab for searches.
    """
    with gr.Blocks(title=_TITLE, analytics_enabled=False) as page:
        _html(f'<h1 class="r2m-title">{_TITLE}</h1>')
        with gr.Tabs():
            if models:
                with gr.Tab("Caption"):
                    _caption_tab(models)
            if searched is not None:
                with gr.Tab("Search"):
                    _search_tab(searched)
    return page


def _html(content: str = "") -> Any:
    """Returns a component of HTML with the style of `page_style` alone."""
    return gr.HTML(content, apply_default_css=False)


def _caption_tab(models: Sequence[AppModel]) -> None:
    by_name = {model.name: model for model in models}
    first = models[0]
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            model = gr.Dropdown(
                list(by_name), value=first.name, label="Model", interactive=len(models) > 1
            )
            # Whole groups are shown and hidden: Gradio replaces a component that an event updates,
            # and would undo the changes of `_keep_to_uploads`.
            with gr.Column(visible=first.reads_images) as images:
                file = gr.File(label="Image", height=170, elem_id="image-file")
                _keep_to_uploads(file)
            with gr.Column(visible=first.reads_concepts) as words:
                concepts = gr.Textbox(
                    label="Concepts, separated by commas",
                    placeholder="dog, grass",
                    max_length=_MOST_LETTERS,
                )
                button = gr.Button("Caption concepts", variant="primary")
        with gr.Column(scale=2, min_width=280):
            answer = _html()

    def caption(name: str, upload: Upload | None) -> str:
        if upload is None or not by_name[name].reads_images:
            return ""
        return caption_answer(by_name[name].caption_image(upload.path, upload.name))

    def caption_concepts(name: str, text: str) -> str:
        listed = [word.strip() for word in (text or "").split(",") if word.strip()]
        if not listed:
            raise InputError("no concepts: write one or several, separated by commas")
        return caption_answer(by_name[name].caption_concepts(listed))

    def show_inputs(name: str) -> list[Any]:
        chosen = by_name[name]
        return [gr.update(visible=own) for own in (chosen.reads_images, chosen.reads_concepts)]

    captioned: dict[str, Any] = {"fn": _answering(caption), "inputs": [model, file], **_HIDDEN}
    file.upload(outputs=answer, **captioned)
    file.clear(lambda: "", outputs=answer, **_HIDDEN)
    model.change(show_inputs, model, [images, words], **_HIDDEN).then(outputs=answer, **captioned)
    gr.on(
        [button.click, concepts.submit],
        _answering(caption_concepts),
        [model, concepts],
        answer,
        **_HIDDEN,
    )


def _search_tab(searched: SearchedIndex) -> None:
    index = searched.vectors
    with gr.Row():
        query = gr.Textbox(
            label=f"Search {len(index):,} {index.kind}",
            placeholder="a dog on a beach",
            max_length=_MOST_LETTERS,
            scale=4,
        )
        count = gr.Slider(
            1, min(_MOST_HITS, max(2, len(index))), min(12, len(index)), step=1, label="Results"
        )
        button = gr.Button(
            "Search", variant="primary", scale=1, min_width=120, elem_classes="search-button"
        )
    answer = _html()

    def search(text: str, most: float) -> str:
        queries = make_queries(searched.model, texts=[text or ""])
        (result,) = page_results(search_index(index, queries, max(1, min(_MOST_HITS, int(most)))))
        return search_answer(result)

    gr.on([button.click, query.submit], _answering(search), [query, count], answer, **_HIDDEN)


def _answering(function: Callable[..., str]) -> Callable[..., str]:
    """Returns a function that shows errors in the page."""

    def answer(*arguments: Any) -> str:
        try:
            return function(*arguments)
        except InputError as error:
            return error_answer(str(error))
        except Exception as error:
            logging.exception("the app failed")
            return error_answer(
                f"the app failed ({type(error).__name__}); its terminal shows the details"
            )

    return answer


def _keep_to_uploads(file: Any) -> None:
    """Makes a file component accept only uploads, with their names.

    Gradio would fetch URLs, and read any file of this machine in a page that it did not launch
    itself. This is not a subclass, because Gradio writes a file next to the module of each
    subclass.
    """
    keep = file.async_move_resource_to_block_cache

    async def keep_uploads(path: str | Path | None) -> str | None:
        if path is not None:
            _check_uploaded(path)
        found: str | None = await keep(path)
        return found

    def preprocess(payload: Any) -> Upload | None:
        if payload is None:
            return None
        path = _check_uploaded(payload.path)
        return Upload(path, payload.orig_name or path.name)

    file.async_move_resource_to_block_cache = keep_uploads
    file.preprocess = preprocess


def _check_uploaded(path: str | Path) -> Path:
    """Returns the path of an upload; raises an error, for the page, for any other path or URL."""
    found = Path(path).resolve()
    if not found.is_relative_to(Path(get_upload_folder()).resolve()):
        raise gr.Error("This is not an upload: upload an image file.", print_exception=False)
    return found
