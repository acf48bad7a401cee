"""Turns text files into records of sentences: the corpus that stages xe and xe_rec learn from.

For example, captions of COCO as the corpus for a detector of the 80 COCO classes:

    r2m-build-corpora --name=coco --source=captions_val2017.json \\
        --label_map=mscoco_label_map.pbtxt --workers=4

The same command resumes a build that was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from r2m.cli.building import build_options, define_build_flags, define_segmenter_flag
from r2m.cli.flag_groups import CONCEPTS, INPUT, OUTPUT, TEXT
from r2m.cli.launch import run
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.record_reports import print_records
from r2m.cli.value_flags import define_switch, define_text, define_texts
from tfrecords.builders.corpora.build import CorporaOptions, build_corpora
from tfrecords.formats.text.reading import READERS, parse_source
from tfrecords.language.concepts import DEFAULT_TABLES
from tfrecords.language.label_maps import label_map_path

_SOURCE = define_texts(
    "source",
    None,
    "A file or folder with sentences, as PATH or READER:PATH; repeat the flag for more. Readers: "
    f"{', '.join(READERS)}. auto (the default) detects the format from the first line: plain text "
    "with a sentence per line, COCO or Karpathy captions JSON, Flickr8k/30k token file, Conceptual "
    "Captions or 12M TSV, a table (CSV, TSV) with a column of captions, a JSON list or JSON Lines, "
    "Shutterstock JSON (r2m-crawl-descriptions), IU X-ray reports (JSON or CSV). "
    "tfds:NAME[:FEATURE][@SPLIT] is a data set that TensorFlow Datasets has prepared in "
    "$TFDS_DATA_DIR: tfds:coco_captions@train.",
    required=True,
    group=INPUT,
    value="[READER:]PATH",
)
_LABEL_MAP = define_texts(
    "label_map",
    None,
    "Classes of the detector that is run on the images: a TensorFlow label map (.pbtxt), one "
    "name per line, CSV id,name, or JSON with COCO categories; a table of labels (CSV, TSV), as "
    "for --detections of r2m-build-images; or `colors` for the colors that r2m-detect-objects "
    "--detector=colors:FILE finds. They decide which words are concepts. Repeat the flag for "
    "several detectors.",
    required=True,
    group=INPUT,
    value="FILE",
)
_SYNONYMS = define_texts(
    "synonyms",
    "default",
    "Tables that map caption words to classes (puppy -> dog): default, none, or PATH; "
    "repeat the flag to combine; later tables take precedence.",
    group=CONCEPTS,
    value="TABLE",
)
define_build_flags("corpora", split="split train")
# Flags have the names of the fields of CorporaOptions.
_OPTIONS: list[flags.FlagHolder[Any]] = [
    define_whole(
        "min_count",
        15,
        "Minimum count of a word; rarer words become <unk>. Small corpora: 3 to 5.",
        least=1,
        group=TEXT,
    ),
    define_whole("min_words", 8, "Leave out sentences with fewer words.", least=1, group=TEXT),
    define_number(
        "max_unknown_fraction",
        0.15,
        "Leave out sentences with a larger fraction of <unk>.",
        most=1,
        group=TEXT,
    ),
    define_switch(
        "require_concept", True, "Leave out sentences that mention no concept.", group=CONCEPTS
    ),
    define_number(
        "validation_fraction",
        0.01,
        "Fraction of the sentences used as split val; 0 for none.",
        below=1,
        group=OUTPUT,
    ),
    define_switch("deduplicate", True, "Keep only one of identical sentences.", group=TEXT),
    define_switch("keep_punctuation", False, "Keep commas and full stops as words.", group=TEXT),
    define_segmenter_flag(),
    define_switch(
        "fold_plurals", False, "Replace plurals of concepts by singulars.", group=CONCEPTS
    ),
]
_GLOVE = define_text(
    "glove",
    None,
    "Word list or GloVe file: words that are not in it, except concepts, become <unk>.",
    group=TEXT,
    value="FILE",
)


def main(argv: Sequence[str]) -> None:
    """Builds the records that the flags describe and prints their location."""
    del argv
    tables = {"default": DEFAULT_TABLES, "none": ()}
    options = CorporaOptions(
        sources=[parse_source(source) for source in _SOURCE.value],
        label_maps=[label_map_path(text) for text in _LABEL_MAP.value],
        synonyms=[p for value in _SYNONYMS.value for p in tables.get(value, (Path(value),))],
        glove=Path(_GLOVE.value) if _GLOVE.value else None,
        **{option.name: option.value for option in _OPTIONS},
        **build_options("corpora"),
    )
    records = build_corpora(options)
    print_records(records, f" sentences, {len(records.vocabulary())} words")


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
