"""The backbone that a captioner trained along, taken out to make features with."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from r2m.stages.captioning import open_run
from r2m.stages.paired.backbone import export_backbone
from r2m.stages.paired.experiment import run_captioner
from tfrecords.errors import InputError
from tfrecords.feature_options import BackboneOptions
from tfrecords.features.backbones import build_network


@pytest.fixture(scope="module")
def runs(caption_records: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A captioner from pixels and one from stored features, a step old."""
    folder = tmp_path_factory.mktemp("backbone")
    found = {}
    for source in ("pixels", "features"):
        config = importlib.import_module("configs.captioners.fc").get_config("test")
        config.data.captions = str(caption_records)
        config.image.update(
            {"backbone": "MobileNet", "weights": "none", "alpha": 0.25, "resize": 40, "crop": 32}
        )
        config.image.update({"source": source, "trained_from": "all", "learning_rate_factor": 1.0})
        config.stages.cross_entropy.update({"steps": 1, "evaluate_every": 0})
        run_captioner(config, folder / source)
        found[source] = folder / source / "cross_entropy"
    return found


def test_a_builder_makes_what_the_captioner_sees(runs: dict[str, Path], tmp_path: Path) -> None:
    exported = export_backbone(runs["pixels"], tmp_path / "own.weights.h5")
    assert exported.flags == (
        "--backbone=MobileNet", f"--weights={exported.file}", "--image_size=32", "--alpha=0.25"
    )  # fmt: skip
    pixels = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("f")
    wanted = open_run(runs["pixels"]).model.network(pixels, training=False)
    options = {"image_size": 32, "alpha": 0.25}
    found, untrained = (
        build_network(BackboneOptions(weights=weights, **options)).model(pixels)
        for weights in (str(exported.file), "none")
    )
    np.testing.assert_array_equal(found, wanted)
    assert np.abs(untrained - wanted).max() > 0


def test_only_a_backbone_of_ones_own_can_be_taken_out(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="shown stored features"):
        export_backbone(runs["features"], tmp_path / "own.weights.h5")
    with pytest.raises(InputError, match=r"ends in \.weights\.h5"):
        export_backbone(runs["pixels"], tmp_path / "own.h5")
    assert not list(tmp_path.iterdir())
