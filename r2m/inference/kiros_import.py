"""Import of the original visual-semantic embedding (Kiros et al. 2014) as a run.

The GRU of the released code matches that of Keras and cuDNN: kernels of the update gate, which
keeps the state, of the reset gate, which is applied after the product with the state, and of the
candidate; one bias. Its `<eos>` is the end marker here, and its UNK `<unk>`. Image features are
divided by their norms; the released code expects normalized inputs.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from configs.retrieval import uvs
from models.vse import VisualSemanticEmbedding
from r2m.configuration.config_fields import RETRIEVAL_STAGES
from r2m.engine.persistence import checkpoints
from r2m.engine.persistence.checkpoint_folders import BEST
from r2m.engine.persistence.durable_files import write_bytes, write_json
from r2m.engine.persistence.variable_names import describe_variables, variable_names
from r2m.inference.captioner_inputs import FEATURES_FILE
from r2m.inference.retrieval_model import build_embedding
from r2m.inference.retrieval_run import SENTENCES_FILE, RetrievalRun, sentence_rule
from r2m.inference.run_folder import CONFIG_FILE, VOCABULARY_FILE, RunFolder
from tfrecords.core.errors import InputError
from tfrecords.core.files import make_folder, sync_folder
from tfrecords.core.vocabulary import END, PAD, START, UNK, Vocabulary
from tfrecords.formats.kiros_embedding import (
    EOS_ROW,
    FIRST_WORD,
    UNKNOWN_ROW,
    KirosEmbedding,
    read_kiros_embedding,
)

(_STAGE,) = RETRIEVAL_STAGES
_RULE = "kiros"


def import_kiros(path: str | Path, output: str | Path) -> RetrievalRun:
    """Writes the original embedding as a run folder, `<output>/ranking`, and loads it.

    Args:
        path: path of `X.npz`; `X.npz.pkl` and `X.npz.dictionary.pkl` must be in the same folder.
        output: folder of the experiment.

    Raises:
        InputError: see `read_kiros_embedding`; or the folder already contains a run.
    """
    folder = Path(output, _STAGE)
    if folder.exists():
        raise InputError(f"{folder} exists: give another --output")
    source = read_kiros_embedding(Path(path))
    vocabulary = Vocabulary((PAD, START, END, *source.words, UNK), (0,) * (len(source.words) + 4))
    config = _config(source, Path(path).stem)
    feature_size = len(source.weights["ff_image_W"])
    model = build_embedding(config, len(vocabulary), {"global_size": feature_size}, None)
    _set_weights(model, source)
    make_folder(Path(output))
    unfinished = folder.with_name(f".unfinished-{_STAGE}-{os.getpid()}")
    make_folder(unfinished)
    try:
        write_json(
            unfinished / CONFIG_FILE,
            {
                "stage": _STAGE,
                "config": json.loads(config.to_json()),
                "fingerprint": {"vocabulary": vocabulary.sha256},
                "imported_from": Path(path).name,
            },
        )
        vocabulary.save(unfinished / VOCABULARY_FILE)
        write_bytes(unfinished / SENTENCES_FILE, sentence_rule(_RULE))
        write_json(unfinished / FEATURES_FILE, _features(feature_size))
        _save(model, unfinished / BEST, vocabulary)
        unfinished.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return RetrievalRun(RunFolder(folder))


def _config(source: KirosEmbedding, name: str) -> Any:
    config = uvs.get_config()
    config.name = name
    config.model.update(
        size=source.weights["ff_image_W"].shape[1],
        word_size=source.weights["Wemb"].shape[1],
        sentence_encoder=source.encoder,
        sentence_pooling="last" if source.encoder == "gru" else "mean",
    )
    if source.margin is not None:
        config.loss.margin = source.margin
    return config


def _features(size: int) -> dict[str, Any]:
    """Returns the contents of `image_features.json`: vectors that were computed elsewhere."""
    return {
        "inputs": {"global": [[None, size], "float32"]},
        "features": ["global_feature"],
        "records": {"backbone": None, "feature_dtype": "float32", "grid_shape": None},
    }


def _set_weights(model: VisualSemanticEmbedding, source: KirosEmbedding) -> None:
    own = source.weights
    rows = own["Wemb"]
    padding = np.zeros((2, rows.shape[1]), np.float32)  # <pad> and <S> are never read
    model.sentence_encoder.words.embedding.embeddings.assign(
        np.concatenate([padding, rows[[EOS_ROW]], rows[FIRST_WORD:], rows[[UNKNOWN_ROW]]])
    )
    model.image_encoder.linear.kernel.assign(own["ff_image_W"])
    model.image_encoder.linear.bias.assign(own["ff_image_b"])
    if model.sentence_encoder.gru is None:
        return
    (cell,) = model.sentence_encoder.gru.cells
    cell.input_map.kernel.assign(_update_first(own["encoder_W"], own["encoder_Wx"]))
    cell.input_map.bias.assign(_update_first(own["encoder_b"], own["encoder_bx"]))
    cell.recurrent_map.kernel.assign(_update_first(own["encoder_U"], own["encoder_Ux"]))


def _update_first(gates: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Returns the blocks update, reset, candidate from [reset, update] and candidate."""
    reset, update = np.split(gates, 2, axis=-1)
    return np.concatenate([update, reset, candidate], axis=-1)


def _save(model: VisualSemanticEmbedding, folder: Path, vocabulary: Vocabulary) -> None:
    names = variable_names(model)
    tensors = {
        f"model/{name}": np.array(tf.convert_to_tensor(variable))
        for name, variable in zip(names, model.variables, strict=True)
    }
    sidecar = {
        **describe_variables(model, model.trainable_variables),
        "fingerprint": {"vocabulary": vocabulary.sha256},
        "state": {},
    }
    checkpoints.save(folder, 0, tensors=tensors, sidecar=sidecar, keep=1)
