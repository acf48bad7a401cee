"""Captions of any number of files: constant memory, and calls that resume interrupted ones."""

from __future__ import annotations

import io
import json
import os
import signal
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gallery_pages import read_items
from ml_collections import ConfigDict
from PIL import Image

from configs import common
from r2m.inference import caption_files as module
from r2m.inference.caption_files import caption_files
from r2m.inference.caption_log import LINES_FILE, CaptionLog
from r2m.inference.captioning import Hypothesis
from r2m.inference.run import CaptionedImage
from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.pictures.named_images import ImageFile

BATCH = 8


class FakeRun:
    """Run that captions images without a model, and records which images.

    Attributes:
        captioned: names of the images, in order.
        after_batch: called with the number of each batch.
        words: of every caption.
    """

    name = "fake/stage"
    calibration = None

    def __init__(self) -> None:
        self.captioned: list[str] = []
        self.after_batch: Callable[[int], None] = lambda number: None
        self.words = "a dog"
        self.config = ConfigDict({"decoding": common.decoding()})
        self.captioning = SimpleNamespace(returning=lambda count: None)

    def identity(self) -> dict[str, Any]:
        return {"checkpoints": ["fake"], "decoding": self.config.decoding.to_dict()}

    def image_reader(self, images: Any, detections: Any) -> None:
        """Returns None, because this run needs no reader."""

    def caption_images(
        self, images: Iterable[ImageFile], reader: None, *, captions: int, batch_size: int
    ) -> Iterator[list[CaptionedImage]]:
        waiting = list(images)
        for number, first in enumerate(range(0, len(waiting), batch_size)):
            yield [self._caption(image) for image in waiting[first : first + batch_size]]
            self.after_batch(number)

    def _caption(self, image: ImageFile) -> CaptionedImage:
        self.captioned.append(image.name)
        if isinstance(skip := image.read(), Skip):
            return CaptionedImage(image, [], None, skip)
        return CaptionedImage(image, [Hypothesis(self.words, -1.0, -1.0, None, 2)], None, None)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    fake = FakeRun()
    monkeypatch.setattr(module, "Run", SimpleNamespace(load=lambda *_, **__: fake))
    return fake


def make_images(folder: Path, count: int) -> Path:
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "PNG")
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:05d}.png").write_bytes(stream.getvalue())
    return folder


def caption(images: Path, output: Path, **options: Any) -> Any:
    return caption_files("run", images, output, batch_size=BATCH, **options)


def test_a_killed_run_resumes_after_its_last_whole_line(run: FakeRun, tmp_path: Path) -> None:
    images, output = make_images(tmp_path / "in", 5 * BATCH + 3), tmp_path / "out"
    (images / "00009.png").write_bytes(b"no picture")
    child = os.fork()
    if child == 0:

        def die(number: int) -> None:
            if number == 2:
                # In the middle of the write of the next line.
                with (output / LINES_FILE).open("ab") as stream:
                    stream.write(b'{"image_id": "000')
                os.kill(os.getpid(), signal.SIGKILL)

        run.after_batch = die
        try:
            caption(images, output)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (output / "captions.json").exists()
    found = caption(images, output)
    names = sorted(path.name for path in images.iterdir())
    assert run.captioned == names[3 * BATCH :]
    lines = [json.loads(line) for line in (output / LINES_FILE).read_text().splitlines()]
    assert [line["image_id"] for line in lines] == names
    assert json.loads((output / "captions.json").read_text()) == lines == found.rows
    assert found.images == len(names) and found.unread == {"unreadable": 1}
    assert lines[9]["caption"] == "" and "cannot be read" in lines[9]["note"]
    assert (output / "captions.csv").read_text("utf-8-sig").count("\n") == len(names) + 1
    # Finished captions are not generated again, except for changed images or on request.
    run.captioned.clear()
    assert caption(images, output).rows == lines and run.captioned == []
    caption(images, output, overwrite=True)
    assert run.captioned == names
    run.captioned.clear()
    os.utime(images / names[0], (1, 1))
    caption(images, output)
    assert run.captioned == names


@pytest.mark.parametrize("change", ["images", "decoding", "captions"])
def test_unfinished_captions_are_not_mixed_with_others(
    run: FakeRun, tmp_path: Path, change: str
) -> None:
    images, output = make_images(tmp_path / "in", 2 * BATCH), tmp_path / "out"

    def stop(number: int) -> None:
        raise KeyboardInterrupt

    run.after_batch = stop
    with pytest.raises(KeyboardInterrupt):
        caption(images, output)
    run.after_batch = lambda number: None
    if change == "images":
        (images / "more.png").write_bytes((images / "00000.png").read_bytes())
    if change == "decoding":
        run.config.decoding.beam_size = 2
    options = {"captions": 2} if change == "captions" else {}
    before = (output / LINES_FILE).read_bytes()
    message = rf"captions of {BATCH} of {2 * BATCH} images.*\(different: .*{change}.*--overwrite"
    with pytest.raises(InputError, match=message):
        caption(images, output, **options)
    assert (output / LINES_FILE).read_bytes() == before
    run.captioned.clear()
    caption(images, output, overwrite=True, **options)
    assert run.captioned[0] == "00000.png"


def test_two_processes_do_not_write_the_same_captions(tmp_path: Path) -> None:
    files = [ImageFile("a.png", tmp_path / "a.png")]
    with CaptionLog(tmp_path, files, {}, overwrite=False) as log:
        log.append([{"image_id": "a.png", "caption": "a"}])
        with pytest.raises(InputError, match="another process is writing captions to it"):
            CaptionLog(tmp_path, files, {}, overwrite=True)
    with CaptionLog(tmp_path, files, {}, overwrite=False) as log:
        assert log.count == 1
    for lines, message in (("b", "1 is not the caption of 'a.png'"), ("ab", "2 is not expected")):
        text = "".join(f'{{"image_id": "{name}.png"}}\n' for name in lines)
        (tmp_path / LINES_FILE).write_text(text)
        with pytest.raises(InputError, match=rf"line {message}: the file was changed.*--overwrite"):
            CaptionLog(tmp_path, files, {}, overwrite=False)


def test_captions_from_a_damaged_line_on_are_found_again(run: FakeRun, tmp_path: Path) -> None:
    images, output = make_images(tmp_path / "in", 3 * BATCH), tmp_path / "out"
    whole = caption(images, output).rows
    lines = (output / LINES_FILE).read_bytes().splitlines(keepends=True)
    lines[BATCH] = bytes(len(lines[BATCH]) - 1) + b"\n"  # as after a power cut
    (output / LINES_FILE).write_bytes(b"".join(lines))
    run.captioned.clear()
    assert caption(images, output).rows == whole
    assert run.captioned == [row["image_id"] for row in whole[BATCH:]]


def test_an_interrupted_run_says_how_to_resume(
    run: FakeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = make_images(tmp_path / "in", 2 * BATCH)

    def stop(number: int) -> None:
        raise KeyboardInterrupt

    run.after_batch = stop
    with pytest.raises(KeyboardInterrupt):
        caption(images, tmp_path / "out")
    assert f"captions of {BATCH} of {2 * BATCH} images: start the same command" in caplog.text


def test_memory_does_not_grow_with_the_captions(run: FakeRun, tmp_path: Path) -> None:
    run.words = "word " * 1_000
    peaks = []
    for count in (100, 600):
        images = make_images(tmp_path / str(count), count)
        tracemalloc.start()
        found = caption(images, tmp_path / f"out{count}", gallery=10)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        run.captioned.clear()
        assert len(found.rows) == 10 and found.images == count
        page = (tmp_path / f"out{count}" / "index.html").read_text()
        assert len(read_items(tmp_path / f"out{count}" / "index.html")) == 10
        assert f"10 of {count} images, at even distances." in page
    # A caption alone takes 5,000 bytes, so the growth is due to names, paths and name checks only.
    assert peaks[1] - peaks[0] < 500 * 2_000
