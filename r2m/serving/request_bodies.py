"""Bodies of requests, bounded in size and time, and the images in them."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from r2m.serving.rest_contract import RequestError
from tfrecords.core.shards import Skip
from tfrecords.pictures.image_files import check_image

_MULTIPART = "multipart/form-data"
_MEGABYTE = 1_000_000


class Upload(NamedTuple):
    """An image that a client sent.

    Attributes:
        name: name of the file, as the client gave it; empty without one.
        data: encoded image.
    """

    name: str
    data: bytes


async def read_body(request: Request, most_bytes: int, seconds: float) -> bytes:
    """Returns the body of a request.

    Raises:
        RequestError: 413 if the body is too large, 408 if it does not arrive in time.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most_bytes:
        raise _too_large(most_bytes)
    try:
        return await asyncio.wait_for(_read(request, most_bytes), seconds)
    except asyncio.TimeoutError:
        raise RequestError(408, f"the body did not arrive within {seconds:g} seconds") from None


async def read_uploads(request: Request, body: bytes, most_files: int) -> list[Upload]:
    """Returns the images of a body: the files of a form, or the body itself.

    Args:
        request: request whose body is read.
        body: complete body.
        most_files: maximum number of files.

    Raises:
        RequestError: 400 if the form cannot be read, or has no files or too many.
    """
    if not request.headers.get("content-type", "").lower().startswith(_MULTIPART):
        return [Upload("", body)]

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        form = await Request(request.scope, receive).form(
            max_files=most_files, max_part_size=len(body) + 1
        )
    except (HTTPException, UnicodeError) as error:  # the latter of an odd character set
        detail = getattr(error, "detail", error)
        raise RequestError(400, f"the form cannot be read: {detail}") from None
    files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    uploads = [Upload(file.filename or "", await file.read()) for file in files]
    await form.close()
    if not uploads:
        raise RequestError(
            400, "the form has no file: send images as files, such as curl -F image=@dog.jpg"
        )
    return uploads


def readable(upload: Upload) -> bytes:
    """Returns an image in a format that the graph decodes, if it can be converted to one."""
    found = check_image(upload.name, upload.data)
    # Unreadable images get their status from the model.
    return upload.data if isinstance(found, Skip) else found


async def _read(request: Request, most_bytes: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise _too_large(most_bytes)
        parts.append(part)
    return b"".join(parts)


def _too_large(most_bytes: int) -> RequestError:
    megabytes = most_bytes / _MEGABYTE
    return RequestError(
        413, f"the body is larger than {megabytes:g} megabytes (--max_request_megabytes)"
    )
