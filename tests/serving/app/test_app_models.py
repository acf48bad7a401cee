"""Models of the app: equal answers of runs and exports, and messages for missing features."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r2m.evaluation.pages.gallery_items import GalleryItem
from r2m.serving.app.app_models import AppModel, load_models
from r2m.serving.app.export_model import ExportModel
from r2m.serving.export import Exported
from r2m.serving.loaded_export import LoadedExport, LoadedSignature
from r2m.serving.rest_contract import TensorInfo
from tfrecords.core.errors import InputError


@pytest.fixture(scope="module")
def models(old_runs: Path, exported: Callable[[str], Exported]) -> dict[str, AppModel]:
    runs = [str(old_runs / "runs" / name) for name in ("att2in2/cross_entropy", "r2m/tri")]
    exports = [str(exported("att2in2").folder.parent)]
    return {model.name: model for model in load_models(runs, exports, captions=3)}


@pytest.fixture(scope="module")
def image(image_files: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("image") / "upload"
    file.write_bytes(image_files[0])
    return file


def texts(item: GalleryItem) -> list[str]:
    return [caption.text for caption in item.captions]


def test_an_export_captions_as_its_run(models: dict[str, AppModel], image: Path) -> None:
    run, export = models["att2in2/cross_entropy"], models["att2in2"]
    assert run.reads_images and export.reads_images
    assert not run.reads_concepts and not export.reads_concepts
    one, other = (model.caption_image(image, "a.png") for model in (run, export))
    assert texts(one) == texts(other) and len(texts(one)) == 3 and one.image_id == "a.png"
    for mine, theirs in zip(one.captions, other.captions, strict=True):
        assert mine.scores["score"] == pytest.approx(theirs.scores["score"], abs=1e-3)
    assert one.attention is not None and other.attention is not None
    assert list(one.attention.words) == list(other.attention.words) == texts(one)[0].split()
    np.testing.assert_allclose(one.attention.weights, other.attention.weights, atol=1e-5)
    assert one.attention.part == pytest.approx(other.attention.part)


def test_r2m_captions_concepts(models: dict[str, AppModel]) -> None:
    run = models["r2m/tri"]
    assert run.reads_concepts and not run.reads_images
    found = run.caption_concepts(["flower", "moon"])
    assert len(texts(found)) == 3 and texts(found)[0] and found.image is None
    assert found.concepts == [("flower", None), ("moon", None)]
    with pytest.raises(InputError, match="unicorn"):
        run.caption_concepts(["unicorn"])


def test_r2m_captions_images_by_detections_of_their_names(old_runs: Path, image: Path) -> None:
    files = [image.with_name("detections.json"), image.with_name("tags.json")]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 48, "height": 48}],
        "categories": [{"id": 1, "name": "flower"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [4, 4, 20, 20], "score": 0.9}],
    }
    for file in files:
        file.write_text(json.dumps(content))
    (model,) = load_models([str(old_runs / "runs/r2m/tri")], [], detections=list(map(str, files)))
    assert model.reads_images and model.reads_concepts
    found = model.caption_image(image, "a.png")
    assert [word for word, _ in found.concepts] == ["flower"] and texts(found)[0]
    with pytest.raises(InputError, match="detections"):
        model.caption_image(image, "other.png")


def export_of(folder: Path, **signatures: tuple[list[str], dict[str, Any]]) -> LoadedExport:
    """Returns an export that answers with given columns."""
    made = {}
    for name, (inputs, answer) in signatures.items():
        infos = {own: TensorInfo("string", (None,)) for own in inputs}
        outputs = {own: TensorInfo("string", (None,)) for own in answer}
        made[name] = LoadedSignature(infos, outputs, lambda columns, answer=answer: answer)
    return LoadedExport("model", 1, made, {}, folder)


def columns(status: str) -> dict[str, np.ndarray]:
    return {
        "captions": np.array([[b"a dog", b""]], object),
        **{name: np.array([[-1.5, np.nan]]) for name in ("scores", "log_probabilities")},
        "confidences": np.full((1, 2), np.nan),
        "concepts": np.array([[b"dog", b""]], object),
        "concept_scores": np.array([[0.5, 0.0]]),
        "status": np.array([status.encode()], object),
    }


def test_exports_of_r2m_return_concepts(tmp_path: Path, image: Path) -> None:
    concepts = {
        name: value for name, value in columns("ok").items() if not name.startswith("concept")
    }
    export = export_of(
        tmp_path,
        serving_default=(["images"], columns("ok")),
        from_concepts=(["concepts", "concept_lengths"], concepts),
    )
    model = ExportModel(export, None)
    assert model.reads_images and model.reads_concepts
    found = model.caption_image(image, "a.png")
    assert found.concepts == [("dog", 0.5)] and texts(found) == ["a dog"] and not found.attention
    assert found.captions[0].scores == {"score": -1.5, "log_probability": -1.5, "confidence": None}
    assert texts(model.caption_concepts(["dog"])) == ["a dog"]


def test_exports_say_what_is_wrong(tmp_path: Path, image: Path) -> None:
    damaged = "unreadable: the image is damaged"
    model = ExportModel(export_of(tmp_path, serving_default=(["images"], columns(damaged))), None)
    assert model.caption_image(image, "a.png").note == "cannot be read: the image is damaged"
    unknown = (["concepts", "concept_lengths"], columns("unknown_concept: no concept 'unicorn'"))
    with pytest.raises(InputError, match="unicorn"):
        ExportModel(export_of(tmp_path, from_concepts=unknown), None).caption_concepts(["unicorn"])
    with pytest.raises(InputError, match="captions neither image bytes nor concepts"):
        ExportModel(export_of(tmp_path, encode_text=(["texts"], {})), None)


@pytest.mark.parametrize("content", [b"", b"some text", b"\x89PNG\r\n\x1a\n1234"])
def test_what_is_no_image_has_a_note(
    models: dict[str, AppModel], content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "upload"
    file.write_bytes(content)
    for name in ("att2in2/cross_entropy", "att2in2"):
        found = models[name].caption_image(file, "notes.txt")
        assert found.note.startswith("cannot be read: ") and not any(texts(found)), name


def test_folders_and_options_that_do_not_fit(old_runs: Path, tmp_path: Path) -> None:
    run, embedding = str(old_runs / "runs/att2in2"), tmp_path / "vse/ranking"
    embedding.mkdir(parents=True)
    settings = (old_runs / "runs/att2in2/cross_entropy/config.json").read_text()
    (embedding / "config.json").write_text(settings.replace('"cross_entropy"', '"ranking"', 1))
    for runs, exports, options, message in (
        ([str(embedding)], [], {}, "does not caption: build an index"),
        ([], [str(tmp_path)], {}, "not an exported model"),
        ([run, run], [], {}, "two models are named att2in2/cross_entropy"),
        ([], [run], {"decoding": {"beam_size": 2}}, "requires a --run"),
        ([run], [], {"captions": 9}, "--captions=9: must be at most"),
    ):
        with pytest.raises(InputError, match=message):
            load_models(runs, exports, **options)  # type: ignore[arg-type]
