"""The Python interface: every kind of image, one or many, R2M and captioners."""

from __future__ import annotations

import io
import itertools
import math
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import r2m
from r2m.inference.caption_files import caption_files

OLD_RUNS = Path(__file__).parent / "data" / "runs"


@pytest.fixture(scope="module")
def captioner(att2in2_run: Path) -> r2m.ImageCaptioner:
    return r2m.load(att2in2_run.parent, beam_size=3)


@pytest.fixture(scope="module")
def old_r2m(tmp_path_factory: pytest.TempPathFactory) -> r2m.ImageCaptioner:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(OLD_RUNS / "r2m.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return r2m.load(folder / "runs" / "r2m")


def test_importing_it_is_light_and_shows_public_names_only() -> None:
    program = (
        "import sys, r2m; print(dir(r2m)); [getattr(r2m, name) for name in dir(r2m)]; "
        "print(sorted({'tensorflow', 'numpy', 'keras', 'PIL', 'absl'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    names, heavy = done.stdout.splitlines()
    assert names == str(sorted(r2m.__all__))
    assert heavy == "[]"


def test_every_kind_of_image_has_the_caption_of_its_file(
    captioner: r2m.ImageCaptioner, att2in2_run: Path, pictures: Path, tmp_path: Path
) -> None:
    file = pictures / "images" / "val_000000.png"
    with Image.open(file) as opened:
        rgb = opened.convert("RGB")
    lazy = Image.open(file)
    array = np.asarray(rgb)
    opaque = np.dstack([array, np.full(array.shape[:2], 7, np.uint8)])
    sideways = rgb.transpose(Image.Transpose.ROTATE_90)
    sideways.getexif()[0x0112] = 6
    given: list[Any] = [
        *(str(file), file, file.read_bytes(), bytearray(file.read_bytes())),
        *(array, opaque, rgb, rgb.convert("RGBA"), lazy, lazy, sideways),
    ]
    found = list(captioner.caption(given, batch_size=4))
    assert len({caption.text for caption in found}) == 1 and found[0].text
    assert [caption.image for caption in found[:4]] == given[:4]
    assert found[4].image is array and found[-1].image is sideways
    (row,) = caption_files(
        att2in2_run, file, tmp_path, decoding={"beam_size": 3}, captions=3
    ).rows  # fmt: skip
    for caption in found:
        assert caption.error is None and len(caption.alternatives) == 2
        everything = [r2m.Alternative(caption.text, caption.score, caption.log_probability)]
        everything += caption.alternatives
        for one, known in zip(everything, row["captions"], strict=True):
            assert one.text == known["caption"]
            assert one.score == pytest.approx(known["score"], abs=2e-3)
            assert one.log_probability == pytest.approx(known["log_probability"], abs=2e-3)


def test_one_image_and_a_batch_of_arrays(captioner: r2m.ImageCaptioner, pictures: Path) -> None:
    file = pictures / "images" / "val_000000.png"
    array = np.asarray(Image.open(file).convert("RGB"))
    gray = np.asarray(Image.open(file).convert("L"))
    for image in (file, str(file), file.read_bytes(), array, gray, gray[..., None]):
        (caption,) = captioner.caption(image, alternatives=0)
        assert caption.text and caption.alternatives == ()
    assert len(list(captioner.caption(np.stack([array] * 3), alternatives=1))) == 3
    for paths in (np.array([str(file)] * 2), np.array([file, str(file)], object)):
        assert [caption.error for caption in captioner.caption(paths)] == [None, None]
    assert list(captioner.caption([])) == []


def test_the_search_is_compiled_once(captioner: r2m.ImageCaptioner) -> None:
    captioning = captioner._run.captioning
    assert captioning.returning(2) is captioning.returning(2)


def test_a_generator_is_read_as_its_captions_are(
    captioner: r2m.ImageCaptioner, pictures: Path
) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for file in itertools.cycle(sorted((pictures / "images").iterdir())):
            taken += 1
            yield file

    found = captioner.caption(endless(), batch_size=2)
    assert taken == 0
    assert len(list(itertools.islice(found, 5))) == 5
    assert taken == 6


def test_what_cannot_be_read_has_a_reason_and_ends_nothing(
    captioner: r2m.ImageCaptioner, pictures: Path, tmp_path: Path
) -> None:
    file = pictures / "images" / "val_000000.png"
    cut = io.BytesIO(file.read_bytes()[:200])
    closed, unbounded = Image.open(file), Image.open(file).convert("I")
    closed.close()
    given = [
        *(tmp_path / "nowhere.png", "nowhere.png", "zero\0byte.png", b"", b"no picture"),
        *(Image.open(cut), closed, unbounded, tmp_path, file),
    ]
    *broken, whole = captioner.caption(given)
    reasons = [
        *(f"no such file in {tmp_path.name}", "no such file in .", "null byte", "zero bytes", ""),
        *("", "closed", "its pixels are 32-bit or signed integers", "it is a folder"),
    ]
    for caption, reason in zip(broken, reasons, strict=True):
        assert caption.text == "" and math.isnan(caption.score) and not caption.alternatives
        assert caption.error and reason in caption.error
    assert whole.text and whole.error is None


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3)), r"image 0 is an array of float64: expected uint8.*255 \* image"),
        (np.zeros((4, 4, 3), np.int32), "image 0 is an array of int32: expected uint8"),
        (np.zeros((4, 4, 2), np.uint8), r"of shape \(4, 4, 2\): expected \[H, W, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), "it has no pixels"),
        ([None], "image 0 is an object of type NoneType: expected a path"),
        (7, "an object of type int is not an image or iterable of images"),
        ({"a.png": 1}, "an object of type dict is not an image or iterable of images"),
        (io.BytesIO(b"a"), "an object of type BytesIO is not an image or iterable of images"),
    ],
)
def test_what_is_no_image_is_refused(
    captioner: r2m.ImageCaptioner, image: Any, message: str
) -> None:
    with pytest.raises(r2m.InputError, match=message):
        list(captioner.caption(image))


def test_impossible_requests_are_refused_at_once(
    captioner: r2m.ImageCaptioner, old_r2m: r2m.ImageCaptioner, att2in2_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(r2m.InputError, match=r"alternatives=3: .* 0 to 2, .* beam_size=4"):
        captioner.caption("a.png", alternatives=3)
    with pytest.raises(r2m.InputError, match="batch_size=0: must be at least 1"):
        captioner.caption("a.png", batch_size=0)
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        captioner.caption("a.png", batch_size=1.5)  # type: ignore[arg-type]
    with pytest.raises(r2m.InputError, match="was not trained on regions of detected boxes"):
        captioner.caption("a.png", detections="d.json")
    with pytest.raises(r2m.InputError, match="is a captioner, which does not read concepts"):
        captioner.caption_concepts([["dog"]])
    with pytest.raises(r2m.InputError, match=r"captions detected objects.*detections="):
        old_r2m.caption("a.png")
    with pytest.raises(r2m.InputError, match="image 0: detections are matched by the names"):
        old_r2m.caption(b"", detections="d.json")
    with pytest.raises(r2m.InputError, match="no concept 'wale'; did you mean whale"):
        list(old_r2m.caption_concepts([["wale"]]))
    with pytest.raises(r2m.InputError, match="expected a list of words"):
        list(old_r2m.caption_concepts(["whale"]))
    with pytest.raises(r2m.InputError, match="not the run folder of a stage"):
        r2m.load(tmp_path)
    with pytest.raises(r2m.InputError, match="no runs were given"):
        r2m.load([])
    with pytest.raises(r2m.InputError, match="beam_size"):
        r2m.load(att2in2_run, beam_size=0)


def test_an_ensemble_is_a_list(att2in2_run: Path, pictures: Path) -> None:
    file = pictures / "images" / "val_000000.png"
    one, two = r2m.load(att2in2_run), r2m.load([att2in2_run, str(att2in2_run)])
    assert next(one.caption(file)).text == next(two.caption(file)).text
    assert repr(two).count("/cross_entropy") == 2


def test_r2m_captions_detections_and_concepts(old_r2m: r2m.ImageCaptioner, raw: Path) -> None:
    files = sorted((raw / "images").iterdir())[:3]
    detections = [raw / "detections.json", str(raw / "tags.json")]
    found = list(old_r2m.caption([*files, files[0]], detections=detections))
    assert all(caption.text and caption.concepts for caption in found)
    assert found[0].text == found[3].text
    assert list(old_r2m.caption([], detections=detections)) == []
    # The concepts alone, most certain first, give the same caption.
    again = old_r2m.caption_concepts((caption.concepts for caption in found), batch_size=2)
    for caption, other in zip(found, again, strict=True):
        assert other.image == other.concepts == caption.concepts
        assert other.score == pytest.approx(caption.score, abs=1e-4)
        assert other.text == caption.text
