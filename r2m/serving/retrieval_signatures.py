"""Signatures of visual-semantic embeddings: vectors of images and texts, and rankings."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from losses.similarities import Similarity, similarities
from r2m.inference.retrieval_run import RetrievalRun
from r2m.serving.captioner_signatures import image_signatures
from r2m.serving.sentence_graph import SentenceWords
from r2m.serving.signatures import (
    DEFAULT,
    IMAGES,
    STATUS,
    ServedModel,
    Signature,
    Tensors,
    example_image,
    first_fault,
    make_signature,
    within_lengths,
)
from tfrecords.pictures.batch_decoding import OK

TEXTS, TEXT_LENGTHS = "texts", "text_lengths"
ENCODE_IMAGE, ENCODE_TEXT, RANK = "encode_image", "encode_text", "rank"


def retrieval_model(run: RetrievalRun, max_pixels: int) -> ServedModel:
    """Returns the signatures of a visual-semantic embedding.

    Args:
        run: the embedding.
        max_pixels: maximum size of an image.

    Raises:
        InputError: its sentences cannot be split in a graph, or the backbone cannot be built.
    """
    words = SentenceWords(run.vocabulary, run.rule, run.pair_options)
    model: Any = run.model

    def vectors(inputs: Tensors, status: tf.Tensor, keys: tf.Tensor | None) -> Tensors:
        del keys
        found = model.encode_images({name: inputs[name] for name in run.signature})
        return _vectors(found, status)

    def of_texts(texts: tf.Tensor) -> Tensors:
        tokens, lengths, status = words(texts)
        return _vectors(model.encode_sentences(tokens, lengths), status)

    signatures, left_out, _, backbones = image_signatures(
        run.inputs, (run.trained_on,), run.signature, run.weights, max_pixels, vectors
    )
    networks = (model, *backbones)
    texts = {TEXTS: tf.TensorSpec([None], tf.string)}
    word = run.vocabulary.words[-2]
    signatures[ENCODE_TEXT] = make_signature(of_texts, texts, {TEXTS: word})
    if DEFAULT in left_out:
        why = left_out[DEFAULT]
        left_out = {**left_out, ENCODE_IMAGE: why, RANK: why}
        return ServedModel("retrieval", signatures, left_out, words.tables, networks=networks)
    of_image = signatures[DEFAULT].function.python_function
    signatures[ENCODE_IMAGE] = signatures[DEFAULT]
    signatures[RANK] = _rank(of_image, of_texts, run.similarity, word)
    return ServedModel("retrieval", signatures, left_out, words.tables, networks=networks)


def _vectors(found: tf.Tensor, status: tf.Tensor) -> Tensors:
    """Returns vectors, with zeros for items whose status is not `ok`."""
    is_good = (status == OK)[:, tf.newaxis]
    return {"vectors": tf.where(is_good, found, 0), STATUS: status}


def _rank(of_image: Any, of_texts: Any, similarity: Similarity, word: str) -> Signature:
    """Returns the signature that ranks the texts of each image; empty texts are padding."""

    def rank(images: tf.Tensor, texts: tf.Tensor, text_lengths: tf.Tensor) -> Tensors:
        texts, width = within_lengths(texts, text_lengths), tf.shape(texts)[1]
        # At least one column, because the sentence encoder does not accept an empty batch.
        added = tf.cast(width == 0, tf.int32)
        texts = tf.pad(texts, [[0, 0], [0, added]], constant_values="")
        image, shape = of_image(images), tf.shape(texts)
        text = of_texts(tf.reshape(texts, [-1]))
        vectors = tf.reshape(text["vectors"], [shape[0], shape[1], image["vectors"].shape[-1]])
        # Each image with its own texts.
        found = tf.map_fn(
            lambda pair: similarities(pair[0][tf.newaxis], pair[1], similarity)[0],
            (image["vectors"], vectors),
            fn_output_signature=tf.TensorSpec([None], tf.float32),
        )
        statuses = tf.reshape(text[STATUS], shape)
        is_text = statuses == OK
        # Texts that cannot be encoded come last.
        ranked = tf.where(is_text, found, found.dtype.min)
        is_usable = is_text & (image[STATUS] == OK)[:, tf.newaxis]
        return {
            "similarities": tf.where(is_usable, found, float("nan"))[:, :width],
            "order": tf.argsort(ranked, axis=1, direction="DESCENDING", stable=True)[:, :width],
            STATUS: first_fault(image[STATUS], _fault_of_texts(texts, statuses)),
        }

    inputs = {
        IMAGES: tf.TensorSpec([None], tf.string),
        TEXTS: tf.TensorSpec([None, None], tf.string),
        TEXT_LENGTHS: tf.TensorSpec([None], tf.int32),
    }
    example = {IMAGES: example_image(), TEXTS: [word], TEXT_LENGTHS: 1}
    return make_signature(rank, inputs, example)


def _fault_of_texts(texts: tf.Tensor, statuses: tf.Tensor) -> tf.Tensor:
    """Returns the first fault of the texts [B, M] of each item, with its index: string [B]."""
    is_fault = (statuses != OK) & (texts != "")
    place = tf.argmax(tf.cast(is_fault, tf.int32), axis=1, output_type=tf.int32)
    first = tf.gather(tf.pad(statuses, [[0, 0], [0, 1]], constant_values=""), place, batch_dims=1)
    named = tf.strings.join([first, " (text ", tf.strings.as_string(place), ")"])
    return tf.where(tf.reduce_any(is_fault, axis=1), named, OK)
