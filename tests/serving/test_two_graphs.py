"""Encoder and step in other runtimes give the captions of the whole model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import r2m
from models.decoding.options import DecodingOptions
from models.decoding.search import decode
from pipelines import captions
from r2m.serving import conversion
from r2m.serving.caption_loop import search
from r2m.serving.conversion import SUFFIXES, PortableFormat, convert
from r2m.serving.portable_export import export_two_graphs
from r2m.serving.portable_runtime import open_graph
from r2m.serving.two_graphs import split_captioner
from tests.models.small_captioners import SMALL, V, sample
from tfrecords.core.errors import InputError
from tfrecords.pictures.decoding import decode_or_fault

RUNTIMES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}
SETTINGS = {
    "beam_size": 2, "max_length": 5, "length_normalization": 0.7, "start_id": 1, "end_id": 2,
    "suppressed": [0, 1, V - 1],
}  # fmt: skip
SUFFIX = "_input"
# Runs a script that must not import any module of this project.
RUN = """
import os, runpy, sys
sys.modules.update(dict.fromkeys(("r2m", "models", "tensorflow")))
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))  # as `python caption.py` does
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def runtimes(format: str) -> None:
    for package in RUNTIMES[format]:
        pytest.importorskip(package)


def split(name: str, fixed_sizes: bool) -> tuple[Any, dict[str, tf.Tensor], Any]:
    keras.utils.set_random_seed(1)
    own = sample(name)
    model, inputs = own.build(), own.inputs(1)
    specs = {
        key + SUFFIX: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for key, x in inputs.items()
    }

    def make(given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {key.removesuffix(SUFFIX): x for key, x in given.items()}

    return model, inputs, split_captioner(model, make, specs, SETTINGS, fixed_sizes)


# Only one captioner per kind of decoder is converted to LiteRT, because this takes longer.
IN_LITERT = {"att2in2", "transformer", "pixels"}


@pytest.mark.parametrize(
    ("name", "format"),
    [
        (name, "litert" if name in IN_LITERT else "onnx")
        for name in (*SMALL, "r2m", "pixels", "ensemble")
    ],
)
def test_the_loop_around_two_graphs_finds_the_captions_of_the_model(
    name: str, format: PortableFormat, tmp_path: Path
) -> None:
    runtimes(format)
    model, inputs, graphs = split(name, fixed_sizes=format == "litert")
    opened = []
    for part, function in (("encoder", graphs.encoder), ("step", graphs.step)):
        file = tmp_path / f"{part}.{SUFFIXES[format]}"
        file.write_bytes(convert(function, format, part))
        outputs = sorted(function.get_concrete_function().structured_outputs)
        opened.append(open_graph(file.parent, {"file": file.name, "outputs": outputs}))
    given = {key + SUFFIX: tensor.numpy() for key, tensor in inputs.items()}
    for width in (1, 2) if format == "onnx" else (2,):
        own = {**SETTINGS, "beam_size": width}
        words = search(opened[0], opened[1], given, own)
        options = DecodingOptions(
            beam_size=width, max_length=5, length_normalization=0.7, returned=1,
            suppressed=(0, 1, V - 1),
        )  # fmt: skip
        found = decode(model, model.encode(inputs), options).tokens[0, 0].numpy().tolist()
        expected = found[: found.index(2)] if 2 in found else [n for n in found if n]
        assert words == expected and words


def test_an_operation_that_cannot_be_converted_is_named() -> None:
    _, _, graphs = split("spatial_transformer", fixed_sizes=True)
    with pytest.raises(InputError, match=r"spatial.* converted to litert: operation TensorListRes"):
        convert(graphs.step, "litert", "the step of spatial_transformer")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
    def hashed(texts: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"found": tf.strings.to_hash_bucket_fast(texts, 7)}

    runtimes("onnx")
    with pytest.raises(InputError, match=r"to onnx: operation StringToHashBucketFast; .*litert"):
        convert(hashed, "onnx", "a hash")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    function = tf.function(lambda x: {"x": x}, input_signature=[tf.TensorSpec([1], name="x")])
    with pytest.raises(InputError, match=r"not installed .*tf2onnx.*pip install 'r2m\[onnx\]'"):
        conversion.convert(function, "onnx", "nothing")


def test_an_exported_folder_captions_by_itself(old_runs: Path, tmp_path: Path) -> None:
    runtimes("onnx")
    run = old_runs / "runs/att2in2/cross_entropy"
    exported = export_two_graphs(run, tmp_path / "own", "onnx", decoding={"beam_size": 2})
    names = {"encoder.onnx", "step.onnx", "caption.py", "runtime.py", "config.json"}
    companions = {"vocabulary.txt", "LICENSE", "README.md"}
    assert {path.name for path in exported.folder.iterdir()} == names | companions
    assert len((exported.folder / "caption.py").read_text().splitlines()) <= 60
    assert "two ONNX graphs" in (exported.folder / "README.md").read_text()
    records = captions.open_captions(str(old_runs / "records/captions"))
    pictures = [example["image"] for example in captions.examples(records, "val")]
    # The pixels are decoded as in training; those of Pillow differ slightly.
    pixels = [decode_or_fault(picture, 32) for picture in pictures]
    files = []
    for number, square in enumerate(pixels):
        files.append(str(tmp_path / f"{number}.npz"))
        np.savez(files[-1], pixels=np.asarray(square)[np.newaxis])
    picture = tmp_path / "picture.png"
    picture.write_bytes(pictures[0])
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(exported.folder / "caption.py"), *files, str(picture)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""},
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [line.split("\t")[1] for line in done.stdout.splitlines()]
    expected = [own.text for own in r2m.load(run, beam_size=2).caption(pictures)]
    assert found[: len(files)] == expected and len(found) == len(files) + 1 and found[-1]
    with pytest.raises(InputError, match=r"supports beam_size.*, not block_trigrams=True"):
        export_two_graphs(run, tmp_path / "own", "onnx", decoding={"block_trigrams": True})
