"""HTML pages from templates; all pages of this project are made here.

A page opens from disk, without a server and without a network. Browsers forbid pages of `file://`
to fetch files and to import modules, but they run classic scripts from the folder of the page. The
data of a page is therefore a script that calls a function with JSON. The content security policy of
each page allows only the scripts and styles of this module, by a random nonce, and pictures in the
folder of the page. Captions can therefore not run or load anything.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

_FOLDER = Path(__file__).with_name("templates")
_POLICY = (
    "default-src 'none'; img-src data: 'self' file:; script-src 'nonce-{nonce}'; "
    "style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'"
)


def render_page(template: str, *, title: str, facts: Mapping[str, Any], **content: Any) -> str:
    """Returns a page.

    Args:
        template: file name of a template that extends `page.html`.
        title: heading of the page.
        facts: rows of the table at the top.
        content: further variables of the template. Text is escaped.
    """
    nonce = secrets.token_urlsafe(16)
    context = {
        "note": "",
        **content,
        "title": title,
        "facts": facts,
        "nonce": nonce,
        "policy": _POLICY.format(nonce=nonce),
    }
    return _environment().get_template(template).render(context)


def render_part(template: str, **content: Any) -> str:
    """Returns a part of a page, for pages made by other programs.

    Args:
        template: file name of a template.
        content: variables of the template. Text is escaped.
    """
    return _environment().get_template(template).render(content)


def style_sheet(name: str) -> str:
    """Returns a style sheet from the folder of templates."""
    return str(_source(name))


def script_json(content: Any) -> str:
    """Returns JSON that is safe inside a script of a page: without `<`, `>`, `&` and `'`.

    Raises:
        ValueError: a number is not finite.
    """
    dumped = htmlsafe_json_dumps(
        content, dumps=json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return str(dumped)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["source"] = _source
    environment.filters["script_json"] = lambda content: Markup(script_json(content))
    return environment


def _source(name: str) -> Markup:
    """Returns the text of a style sheet or script from the folder of templates."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))
