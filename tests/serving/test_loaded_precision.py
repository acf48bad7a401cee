"""Trained runs, loaded with activations in bfloat16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import r2m
from r2m.inference.run import Run
from r2m.serving.export import export_run
from tfrecords.core.errors import InputError


def test_likelihoods_change_a_little_and_weights_do_not(
    att2in2_run: Path, caption_records: Path
) -> None:
    exact, fast = Run.load(att2in2_run), Run.load(att2in2_run, precision="mixed_bfloat16")
    assert (exact.model.compute_dtype, fast.model.compute_dtype) == ("float32", "bfloat16")
    for ours, theirs in zip(exact.model.get_weights(), fast.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    records = exact.open_records(str(caption_records))
    batch = next(iter(exact.record_batches(records, "val")))
    del batch["image_id"]
    hidden = []
    for run in (exact, fast):
        memory = run.model.encode(batch)
        tokens = tf.ones([len(next(iter(batch.values()))), 3], tf.int32)
        hidden.append(run.model.logits(run.model.teacher_forced(memory, tokens)[:, -1]))
    assert hidden[1].dtype == tf.float32
    np.testing.assert_allclose(*hidden, atol=0.05)
    assert np.abs(hidden[0] - hidden[1]).max() > 0  # computed in bfloat16 indeed


def test_calibrations_and_unfinished_captions_are_of_one_precision(att2in2_run: Path) -> None:
    exact, fast = Run.load(att2in2_run), Run.load(att2in2_run, precision="mixed_bfloat16")
    assert fast.identity() == {**exact.identity(), "precision": "mixed_bfloat16"}
    assert "precision" not in exact.identity()  # as in files of earlier versions


def test_an_export_computes_in_the_precision_it_is_given(
    old_runs: Path, image_files: list[bytes], tmp_path: Path
) -> None:
    run = old_runs / "runs/att2in2/cross_entropy"
    exported = export_run(run, tmp_path / "fast", precision="mixed_bfloat16")
    served = tf.saved_model.load(str(exported.folder)).signatures["serving_default"]
    found = served(images=tf.constant(image_files))["captions"][:, 0].numpy()
    captioner = r2m.load(run, precision="mixed_bfloat16")
    expected = [one.text for one in captioner.caption(image_files)]
    assert [text.decode() for text in found] == expected
    assert (
        "| precision of activations | mixed_bfloat16 |"
        in (exported.folder / "README.md").read_text()
    )


def test_what_has_no_precision_says_so(
    att2in2_run: Path, embedding_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="precision: unknown 'bfloat16'; known: float32, mixed_"):
        r2m.load(att2in2_run, precision="bfloat16")
    with pytest.raises(InputError, match="generates no captions: leave out precision"):
        r2m.load(embedding_run, precision="mixed_bfloat16")
    with pytest.raises(InputError, match="generates no captions: leave out --precision"):
        export_run(embedding_run, tmp_path / "out", precision="mixed_bfloat16")
