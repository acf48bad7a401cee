"""Whatever is in a file, a reader gives clean images or says what is wrong, and never hangs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paired_samples as samples
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.formats.paired.reading import PairedSource, read_paired
from tfrecords.formats.paired.types import PairedDataset

FUZZ = settings(max_examples=40, deadline=None, derandomize=True)


class Contents(dict[str, dict[str, bytes]]):
    """Format -> the files it consists of."""

    def __repr__(self) -> str:
        return "..."  # hypothesis prints it


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    folder = tmp_path_factory.mktemp("whole")
    paths = samples.write_all(folder)
    paths["legacy"] = samples.write_torch(folder / "old.pt", samples.coco_pt(), legacy=True)
    paths["tfds"] = samples.write_tfds(folder / "tfds")
    files = Contents()
    for name, path in paths.items():
        path = path.parent if name == "cocotalk" else path
        items = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
        files[name] = {file.name: file.read_bytes() for file in sorted(items)}
    return files


def check(dataset: PairedDataset) -> None:
    """Checks what the builder relies on."""
    for image in dataset.images:
        for text in (image.image_id, image.file or "", image.source_id or "", image.split or ""):
            assert "\0" not in text and text.encode() is not None
            assert not text.startswith("/") and ".." not in text.split("/")
        for size in (image.height, image.width):
            assert size is None or 0 < size < 1 << 31
        for caption in image.captions:
            assert caption.text.strip() and caption.text.encode()
            assert caption.tokens is None or all(len(t.split()) == 1 for t in caption.tokens)
            assert caption.tokens != ()
            assert caption.caption_id is None or -(1 << 63) <= caption.caption_id < 1 << 63
        if image.read is not None:
            quietly(image.read)
        if dataset.features is not None:
            quietly(lambda: dataset.features.get(image.image_id))  # noqa: B023 - called at once


def quietly(function: Callable[[], Any]) -> None:
    try:
        function()
    except InputError as error:
        assert str(error)


def read_files(files: dict[str, bytes], form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        alone = len(files) == 1
        source = PairedSource(str(Path(folder) / next(iter(files))) if alone else folder, form)
        quietly(lambda: check(read_paired(source)))


FORMS = ["karpathy", "coco", "flickr", "xray", "imageclef", "json_list", "coco_pt", "legacy"]
FORMS += ["cocotalk", "kiros", "vsepp", "tfds"]


@pytest.mark.parametrize("form", FORMS)
@FUZZ
@given(data=st.data())
def test_damaged_bytes(contents: Contents, form: str, data: st.DataObject) -> None:
    files = dict(contents[form])
    # HDF5 and TFDS parse these two in C and in protocol buffers; damage there is cut only.
    name = data.draw(st.sampled_from(sorted(files)))
    content = files[name]
    at = data.draw(st.integers(0, len(content)))
    noise = b"" if name.endswith(".h5") else data.draw(st.binary(max_size=12))
    rest = b"" if name.endswith(".h5") else content[at + data.draw(st.integers(0, 12)) :]
    files[name] = content[:at] + noise + data.draw(st.sampled_from([rest, b""]))
    read_files(files, {"legacy": "coco_pt"}.get(form, form))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([1 << 63, -1, 0, 10**400, float("nan"), float("inf"), 1.5])
    | st.sampled_from(["", " ", "../../etc/passwd", "/abs/x.jpg", "a\0b", "\ud800", "x" * 5000])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value: its container and its key."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from nodes(inner)


@pytest.mark.parametrize("form", ["karpathy", "coco", "xray", "cocotalk", "json_list"])
@FUZZ
@given(data=st.data())
def test_wrong_values_in_json(contents: Contents, form: str, data: st.DataObject) -> None:
    files = dict(contents[form])
    name = next(name for name in files if name.endswith(".json"))
    content = json.loads(files[name])
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(nodes(content))
        container, key = places[data.draw(st.integers(0, len(places) - 1))]
        container[key] = data.draw(JSON)
    files[name] = json.dumps(content).encode()
    read_files(files, form)


@pytest.mark.parametrize("form", ["flickr", "imageclef", "vsepp", "auto"])
@FUZZ
@given(
    text=st.text(max_size=80),
    separators=st.lists(st.sampled_from('\t#,|"\n\r\x0c\u2028a0'), max_size=20),
)
@example(text="a.jpg#0\t<S> </S> <pad>\n", separators=[])
def test_lines_of_anything(contents: Contents, form: str, text: str, separators: list[str]) -> None:
    noise = "".join(a + b for a, b in zip(text, separators + [""] * len(text), strict=False))
    content = noise.encode(errors="surrogatepass")
    if form == "vsepp":
        read_files({**contents[form], "train_caps.txt": content}, form)
    else:
        read_files({"captions.txt": content}, form)
