"""File with the pages of one class: appended to a journal, then written in the published layout.

While a class is fetched, its pages are lines of a journal; each line is on disk before the next
page is requested. An incomplete last line, left by a crash, is removed. At the end all pages are
written to `<class>.json`, `{page: [{"description": ...}]}`, and the journal is deleted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tfrecords.core.errors import InputError
from tfrecords.core.files import write_atomically

STATE = ".crawl"
_LONGEST_NAME = 200


class ClassFile:
    """The pages of one class, for use by one thread of one process.

    Attributes:
        path: `<class>.json`.
        pages: page number -> descriptions; an empty list is the page after the last result.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Reads the pages that earlier runs fetched.

        Raises:
            InputError: the class name is not usable as a file name, or the file is malformed.
        """
        file = file_name(name)
        self.path = folder / f"{file}.json"
        self._journal = folder / STATE / f"{file}.jsonl"
        self.pages = _read_published(self.path) | _read_journal(self._journal)

    def add(self, page: int, descriptions: list[str]) -> None:
        """Appends a page to the journal and flushes it to disk."""
        line = json.dumps({"page": page, "descriptions": descriptions}) + "\n"
        with self._journal.open("ab") as stream:
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())
        self.pages[page] = descriptions

    def publish(self) -> None:
        """Writes the file if the journal has new pages, and deletes the journal."""
        if self._journal.exists() and self.pages:
            content = {
                str(page): [{"description": text} for text in self.pages[page]]
                for page in sorted(self.pages)
            }
            write_atomically(self.path, json.dumps(content, indent=0).encode())
        self._journal.unlink(missing_ok=True)


def file_name(name: str) -> str:
    """Returns a class name as a file name without suffix that cannot lead to another folder.

    Raises:
        InputError: the name has no letter or digit, or is too long.
    """
    file = quote(name, safe=" ,'()&")
    if file.startswith("."):
        file = "%2E" + file[1:]
    if not any(map(str.isalnum, name)) or len(file) > _LONGEST_NAME:
        raise InputError(
            f"the class {name!r:.300} cannot be a search term: expected a name with letters, of at "
            f"most {_LONGEST_NAME} characters"
        )
    return file


def _read_published(path: Path) -> dict[int, list[str]]:
    try:
        data = json.loads(path.read_bytes())
        return {
            _page(page): [_text(item["description"]) for item in items]
            for page, items in data.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} was not written by this crawler ({type(error).__name__}: {error}); expected "
            '{page: [{"description"}]}: move it away'
        ) from error


def _read_journal(path: Path) -> dict[int, list[str]]:
    pages: dict[int, list[str]] = {}
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return pages
    whole = 0
    for line in lines:
        try:
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            pages[_page(entry["page"])] = [_text(text) for text in entry["descriptions"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            break
        whole += len(line)
    os.truncate(path, whole)
    return pages


def _page(value: Any) -> int:
    page = int(value)
    if page < 1:
        raise ValueError(f"page {page}")
    return page


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a description {value!r:.80}")
    return value
