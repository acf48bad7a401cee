"""What R2M is shown of image files: the concepts that detectors saw in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from pipelines.concepts import assemble
from r2m.inference.r2m_model import CONCEPTS_FILE, concept_options
from r2m.inference.r2m_runs import concept_rules
from r2m.inference.run import Look, SeenFiles, TrainedRun
from tfrecords.concepts import ConceptDictionary
from tfrecords.detections.box_formats import BoxOptions
from tfrecords.features.reading import decode_files
from tfrecords.images.concepts import image_concepts
from tfrecords.images.entries import ImageFile
from tfrecords.readers.detections import DetectionSource, read_detections
from tfrecords.writing.shards import Skip


def concept_look(
    run: TrainedRun, files: Sequence[ImageFile], detections: Sequence[DetectionSource]
) -> Look:
    """Looks detections up, and chooses concepts as those of the run's training were.

    Args:
        run: of R2M.
        files: all that will be looked at.
        detections: what detectors saw in them, by the names of the files.

    Raises:
        InputError: there are detections of none of them, or they cannot be read.
    """
    seen = read_detections(detections, names=[file.name for file in files])
    options = concept_options(run.config)
    dictionary, allowed, order = _rules(run.folder)
    id_of = run.vocabulary.id_of

    def look(files: Sequence[ImageFile]) -> SeenFiles:
        found = [
            image_concepts(
                seen[file.name],
                dictionary,
                sources=detections,
                max_concepts=options.max_concepts,
                order=order,
                allowed=allowed,
            )
            if file.name in seen
            else []
            for file in files
        ]
        ids = [[id_of(concept.word) for concept in row] for row in found]
        counts = [[concept.count for concept in row] for row in found]
        inputs, lengths = assemble(
            tf.ragged.constant(ids, tf.int64, ragged_rank=1),
            tf.ragged.constant(counts, tf.int64, ragged_rank=1),
            options,
            key=None,
            order="kept",
        )
        # R2M is shown no pixels, but a caption of a picture that nobody can see is no use.
        faults = [item if isinstance(item, Skip) else None for item in decode_files(files, None)]
        return SeenFiles({"concepts": inputs, "concept_lengths": lengths}, found, faults)

    return look


def sources_as_trained(run_folder: str | Path, texts: Sequence[str]) -> list[DetectionSource]:
    """Files of detections, with the thresholds, weights and box formats of the run's training.

    They are told apart by file name, else by their order where there are as many as in training.

    Args:
        run_folder: of a trained stage.
        texts: `FILE[+COMPANION][,MIN_SCORE[,WEIGHT]][,boxes=FORMAT]...` each; what is given counts.

    Raises:
        InputError: one is not of that form.
    """
    known = concept_rules(Path(run_folder)).get("detections", [])
    by_name = {rule["file"]: rule for rule in known}
    sources = []
    for number, text in enumerate(texts):
        name = DetectionSource.parse(text).path.name
        rule = by_name.get(name) or (known[number] if len(known) == len(texts) else None)
        if rule is None:
            logging.warning(
                "the run was trained with detections of %s, not of %s: scores count as they do by "
                "default",
                ", ".join(by_name) or "no images", name,
            )  # fmt: skip
            sources.append(DetectionSource.parse(text))
        else:
            # A file of another kind writes boxes in its own way. Sizes are of other images.
            same_kind = Path(name).suffix.lower() == Path(rule["file"]).suffix.lower()
            written = {key: rule[key] for key in ("boxes", "scores") if key in rule and same_kind}
            sources.append(
                DetectionSource.parse(
                    text, (rule["min_score"], rule["weight"]), BoxOptions(**written)
                )
            )
    return sources


def _rules(run_folder: Path) -> tuple[ConceptDictionary, frozenset[str], Any]:
    """The run's dictionary, the concepts its corpus speaks of often enough, and their order."""
    file = run_folder / CONCEPTS_FILE
    text = file.read_text(encoding="utf-8")
    rules = concept_rules(run_folder)
    counts = json.loads(text)["counts"]
    allowed = frozenset(word for word, n in counts.items() if n >= rules["min_concept_count"])
    return ConceptDictionary.from_json(text, str(file)), allowed, rules["concept_order"]
