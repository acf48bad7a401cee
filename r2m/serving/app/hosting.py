"""Application that serves the page: no telemetry, nothing from other hosts, uploads removed."""

from __future__ import annotations

import ipaddress
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Set before Gradio is imported, because it reads them.
_ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SSR_MODE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}
_TEMPORARY = "GRADIO_TEMP_DIR"
_LOCAL_HOSTS = ["localhost", "127.0.0.1"]
# Gradio's page has inline scripts and styles, and its HTML components are compiled.
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
        "worker-src 'self' blob:; object-src 'none'; frame-ancestors 'none'; base-uri 'self'; "
        "form-action 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@contextmanager
def private_gradio() -> Iterator[None]:
    """Disables Gradio's telemetry; its uploads are in a folder that is removed at the end.

    Gradio is imported in the body.
    """
    changed = [*_ENVIRONMENT, _TEMPORARY]
    before = {name: os.environ.get(name) for name in changed}
    with tempfile.TemporaryDirectory(prefix="r2m-app-") as folder:
        os.environ.update(_ENVIRONMENT, **{_TEMPORARY: folder})
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def make_app(page: Any, host: str, upload_bytes: int) -> Any:
    """Returns the ASGI application of a page.

    Args:
        page: result of `make_page`.
        host: address to listen on. A loopback address only accepts its own host names, so that no
            page of another site can reach the app by a name that it controls.
        upload_bytes: maximum size of a file.
    """
    import gradio
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from r2m.serving.app.page import page_style, page_theme

    app = FastAPI(openapi_url=None)
    gradio.mount_gradio_app(
        app,
        page.queue(default_concurrency_limit=1, max_size=64, api_open=False),
        path="/",
        footer_links=[],
        show_error=False,
        max_file_size=upload_bytes,
        theme=page_theme(),
        css=page_style(),
    )
    app.add_middleware(_Headers)
    if is_loopback(host):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOCAL_HOSTS, host])
    return app


def is_loopback(host: str) -> bool:
    """Returns whether only programs on this machine reach a host of IP version 4."""
    try:
        return isinstance(found := ipaddress.ip_address(host), ipaddress.IPv4Address) and (
            found.is_loopback
        )
    except ValueError:
        return host == "localhost"


class _Headers:
    """Middleware that adds security headers to all responses."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        await self._app(scope, receive, send_with_headers)
