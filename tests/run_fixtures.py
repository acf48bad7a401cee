"""Fixtures: small records and runs of the embedded data set, for several test folders."""

from __future__ import annotations

import fcntl
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from captioner_runs import small

from configs.r2m import shapes
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.builders.corpora.build import CorporaOptions, build_corpora
from tfrecords.builders.images.build import ImagesOptions, build_images
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.formats.paired.reading import PairedSource
from tfrecords.formats.text.reading import parse_source
from tfrecords.pictures.feature_options import BackboneOptions
from tfrecords.shapes.dataset import ShapesOptions, make_shapes


@pytest.fixture(scope="session")
def built_once(tmp_path_factory, worker_id) -> Callable[[str, Callable[[Path], object]], Path]:
    """Builds a read-only folder once for all workers of pytest-xdist."""
    root = tmp_path_factory.getbasetemp()
    root = (root if worker_id == "master" else root.parent) / "built_once"

    def built(name: str, build: Callable[[Path], object]) -> Path:
        folder, done = root / name / "folder", root / name / "done"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (root / name / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                build(folder)
                done.touch()
        return folder

    return built


@pytest.fixture(scope="session")
def raw(built_once) -> Path:
    """A small version of the raw data set."""
    options = ShapesOptions(
        train_images=24, val_images=8, test_images=4, sentences=200, image_size=48
    )
    return built_once("raw", partial(make_shapes, options=options))


@pytest.fixture(scope="session")
def build_text(raw):
    """Builds sentence records of the raw data set in a folder, with changed options."""
    return partial(_build_text, raw)


def _build_text(raw: Path, folder: Path, label_maps=("detections.json", "tags.json"), **changes):
    options = {"min_count": 2, "validation_fraction": 0.1, "shards": 2, **changes}
    build_corpora(
        CorporaOptions(
            folder=folder,
            name="shapes",
            sources=[parse_source(str(raw / "corpus.txt"))],
            label_maps=[raw / name for name in label_maps],
            **options,
        ),
        progress=False,
    )
    return folder


@pytest.fixture(scope="session")
def corpora(build_text, built_once) -> Path:
    return built_once("corpora", build_text)


@pytest.fixture(scope="session")
def build(raw, corpora):
    """Builds image records of the raw data set in a folder, with changed options."""
    return partial(_build, raw, corpora)


def _build(raw: Path, text: Path, folder: Path, **changes) -> Path:
    options = {
        "folder": folder,
        "name": "shapes",
        "images": raw / "images",
        "detections": tuple(
            DetectionSource(path=raw / name) for name in ("detections.json", "tags.json")
        ),
        "corpora": text,
        "splits": {split: raw / f"{split}.txt" for split in ("train", "val")},
        "references": raw / "captions.json",
        "reference_splits": ("val",),
        "backbone": BackboneOptions(name="VGG16", weights="none", image_size=32),
        "shards": 2,
        **changes,
    }
    build_images(ImagesOptions(**options), progress=False)
    return folder


@pytest.fixture(scope="session")
def images(build, built_once) -> Path:
    return built_once("images", build)


@pytest.fixture(scope="session")
def small_network() -> dict[str, object]:
    """Settings of a network with few operations (all ablations), whose graphs are built fast."""
    return {
        "decoder": "lstm",
        "fusion": "concat",
        "reconstructor": "lstm",
        "tie_embeddings": True,
        "image_projection": "frozen",
    }


@pytest.fixture
def config(corpora, images):
    """A configuration with a tiny network and four steps per stage."""
    config = shapes.get_config("test")
    config.data.corpora, config.data.images = str(corpora), str(images)
    for stage in config.stages.values():
        stage.batch_size, stage.max_length = 8, 10
    return config


@pytest.fixture(scope="session")
def pictures(built_once) -> Path:
    """A raw data set of ten training and four validation images."""
    options = ShapesOptions(train_images=10, val_images=4, test_images=1, sentences=5)
    return built_once("pictures", partial(make_shapes, options=options))


@pytest.fixture(scope="session")
def caption_records(pictures, built_once) -> Path:
    """Caption records of these images, with feature maps and pixels."""
    return built_once("caption_records", partial(_build_captions, pictures))


def _build_captions(pictures: Path, folder: Path) -> None:
    options = CaptionsOptions(
        folder=folder,
        captions=(PairedSource.parse(f"coco:{pictures / 'captions.json'}"),),
        splits={split: pictures / f"{split}.txt" for split in ("train", "val")},
        images=(pictures / "images",),
        min_count=1,
        backbone=BackboneOptions(name="VGG16", weights="none", image_size=64),
        store_grid=True,
    )
    build_captions(options, progress=False)


@pytest.fixture(scope="session")
def att2in2_run(caption_records, tmp_path_factory) -> Path:
    """The run of a small att2in2; read-only, tests must copy it before changes."""
    from r2m.tasks.captioning.experiment import run_captioner

    folder = tmp_path_factory.mktemp("att2in2")
    summary = run_captioner(small(caption_records), folder)
    assert summary.step == 4
    assert {"loss", "bleu_4", "rouge_l", "cider"} <= set(summary.best_metrics)
    return folder / "cross_entropy"


@pytest.fixture(scope="session")
def old_runs(built_once) -> Path:
    """Small trained runs of earlier versions and their records; read-only."""
    return built_once("old_runs", _unpack_runs)


def _unpack_runs(folder: Path) -> None:
    for archive in sorted((Path(__file__).parent / "data" / "runs").glob("*.tar.xz")):
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")


@pytest.fixture(scope="session")
def embedding_run(caption_records, tmp_path_factory) -> Path:
    """The run of a small VSE++; read-only, tests must copy it before changes."""
    from configs.retrieval import vse_plus_plus
    from r2m.tasks.retrieval.experiment import run_retrieval

    config = vse_plus_plus.get_config("test")
    config.data.captions = str(caption_records)
    folder = tmp_path_factory.mktemp("embedding")
    run_retrieval(config, folder)
    return folder / "ranking"
