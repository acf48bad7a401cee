"""Counts the images whose captions contain each n-gram; CIDEr-D weights n-grams by these counts.

    r2m-build-document-frequencies --captions=records/captions/coco

Self-critical training reads the file with --config.reward.document_frequencies=FILE. Without one,
it counts its training captions once and keeps the result in the folder of the records. The file
belongs to the vocabulary of the records.

Published pickles of other projects can be converted, if the records have the same words:

    r2m-build-document-frequencies --captions=records/captions/coco \\
        --pickle=coco-train-idxs.p --words_of_ids=cocotalk.json
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from absl import app

from r2m.cli.flag_groups import INPUT, OUTPUT
from r2m.cli.launch import home, run
from r2m.cli.value_flags import define_text

_CAPTIONS = define_text(
    "captions",
    None,
    "Folder of captions records, with sentences and vocabulary.",
    required=True,
    group=INPUT,
    value="FOLDER",
)
_SPLIT = define_text(
    "split", "train", "Split whose images are counted.", group=INPUT, value="SPLIT"
)
_PICKLE = define_text(
    "pickle",
    None,
    "A *-idxs.p or *-words.p file to read the counts from, instead of the records.",
    group=INPUT,
    value="FILE",
)
_WORDS_OF_IDS = define_text(
    "words_of_ids",
    None,
    "JSON file (cocotalk.json) with `ix_to_word` for the ids of *-idxs.p.",
    group=INPUT,
    value="FILE",
)
_OUTPUT = define_text(
    "output",
    None,
    "File to write. Default: records/document_frequencies/NAME-SPLIT.npz under $R2M_HOME, or under "
    "./workspace.",
    group=OUTPUT,
    value="FILE",
)


def main(argv: Sequence[str]) -> None:
    """Counts, or reads the pickle, and writes the file."""
    from tfrecords.core.records import open_records
    from tfrecords.formats.ngram_pickles import frequencies_of_pickle
    from tfrecords.language.document_frequencies import frequencies_of_records

    del argv
    if _WORDS_OF_IDS.value and not _PICKLE.value:
        raise app.UsageError("--words_of_ids requires --pickle")
    records = open_records(_CAPTIONS.value, kind="captions")
    if _PICKLE.value:
        words = Path(_WORDS_OF_IDS.value) if _WORDS_OF_IDS.value else None
        found = frequencies_of_pickle(Path(_PICKLE.value), records.vocabulary(), words)
    else:
        found = frequencies_of_records(records, _SPLIT.value)
    folder = home() / "records" / "document_frequencies"
    path = Path(_OUTPUT.value or folder / f"{records.name}-{_SPLIT.value}.npz")
    found.save(path)
    sizes = ", ".join(f"{len(counts)} {n}-grams" for n, counts in enumerate(found.counts, 1))
    print(f"{path}: {sizes} of {found.images} images")


console = partial(run, main)

if __name__ == "__main__":
    console()
