"""Builds `captions` records: images with captions that people wrote.

    r2m-build-captions --captions=dataset_coco.json --images=raw/coco --name=coco
    r2m-build-captions --captions=Flickr8k.token.txt --split=train=Flickr_8k.trainImages.txt \\
        --split=val=Flickr_8k.devImages.txt --images=Flicker8k_Dataset --name=flickr8k
    r2m-build-captions --captions=captions_train2014.json --features=tsv:trainval_36 --name=coco36
    r2m-build-captions --captions=iu_xray/annotation.json --max_length=60 --name=iu_xray

Without --images and --features the records contain text only, except for coco.pt, TFDS sets and the
folders of VSE and VSE++, which contain pictures or features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from r2m.cli import building, image_flags, region_flags
from r2m.cli.flag_groups import FEATURES, INPUT, OUTPUT, TEXT
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.record_reports import print_records
from r2m.cli.value_flags import define_choice, define_list, define_switch, define_text, define_texts

_CAPTIONS = define_texts(
    "captions",
    None,
    "[SPLIT=][FORMAT:]PATH, repeatable. Formats: auto (the default, detected from the path), "
    "karpathy (dataset_*.json), coco (captions_*.json), flickr (token file, or CSV or TSV "
    "table with columns of images and captions), json_list (JSON list or JSON Lines of images with "
    "captions), xray (annotation.json of IU X-ray, MIMIC-CXR), imageclef, "
    "coco_pt (.pt, .npz), cocotalk (.json with _label.h5), "
    "kiros and vsepp (folder of *_caps.txt and *_ims.npy), tfds:NAME. SPLIT (train, restval, val, "
    "test) is required if the file contains no split names and there is no --split; with --split, "
    "only the listed images of SPLIT are taken from the file.",
    required=True,
    group=INPUT,
    value="[SPLIT=][FORMAT:]PATH",
)
image_flags.define_split_flag("; images that are in no list are left out.")
_IMAGES = define_texts(
    "images",
    [],
    "Folder with the image files; repeat it for several (train2014, val2014).",
    group=INPUT,
    value="FOLDER",
)
_FEATURES = define_text(
    "features",
    None,
    "Store existing features: tsv:FILE,..., folders:PREFIX, h5:FILE, lmdb:PATH, "
    "npy:FILE,ids=LIST or records:FOLDER, see --from of r2m-extract-features --help.",
    group=INPUT,
    value="KIND:PATH",
)
_VOCABULARY = define_text(
    "vocabulary",
    None,
    "Vocabulary to use: a vocabulary.txt, or a folder of records.",
    group=TEXT,
    value="PATH",
)
_COUNTED = define_list(
    "vocabulary_splits",
    ["train"],
    "Splits whose captions are counted for a new vocabulary.",
    group=TEXT,
    value="SPLIT,...",
)
_DATA_DIR = define_text(
    "data_dir", None, "Folder of prepared TFDS data sets.", group=INPUT, value="FOLDER"
)
# Flags have the names of the fields of CaptionsOptions.
_OPTIONS: list[flags.FlagHolder[Any]] = [
    define_choice(
        "vocabulary_rule",
        "neuraltalk",
        ["neuraltalk", "vsepp", "kiros"],
        "neuraltalk: lower-case words that occur more than 5 times, no punctuation. vsepp: NLTK's "
        "words and punctuation in lower case, at least 4 times. kiros: every token between spaces.",
        group=TEXT,
    ),
    building.define_segmenter_flag(),
    define_whole(
        "min_count",
        None,
        "Minimum count of a word; rarer words become <unk>. Default: that of --vocabulary_rule.",
        least=1,
        group=TEXT,
    ),
    define_whole(
        "max_length", None, "Cut sentences to N words. Default: never.", least=1, group=TEXT
    ),
    define_switch(
        "train_only", False, "Leave out Karpathy's restval, which is training data.", group=INPUT
    ),
    define_switch(
        "store_grid",
        False,
        "Also store the feature map of --backbone, not only its mean.",
        group=FEATURES,
    ),
    define_switch(
        "store_pixels", True, "Store the bytes of the image files, if available.", group=OUTPUT
    ),
]
building.define_backbone_flags()
building.define_view_flags()
region_flags.define_region_flags()
building.define_build_flags("captions")


def main(argv: Sequence[str]) -> None:
    """Reads the flags and builds the records."""
    from tfrecords.builders.captions.build import CaptionsOptions, build_captions
    from tfrecords.formats.features.opening import open_feature_store
    from tfrecords.formats.paired.reading import PairedSource

    records = build_captions(
        CaptionsOptions(
            captions=tuple(PairedSource.parse(text) for text in _CAPTIONS.value),
            data_dir=Path(_DATA_DIR.value) if _DATA_DIR.value else None,
            images=tuple(map(Path, _IMAGES.value)),
            store=open_feature_store(_FEATURES.value) if _FEATURES.value else None,
            vocabulary=Path(_VOCABULARY.value) if _VOCABULARY.value else None,
            vocabulary_splits=tuple(_COUNTED.value or ()),
            **{option.name: option.value for option in _OPTIONS},
            **building.backbone_options(),
            **region_flags.region_options(),
            **building.build_options("captions"),
        )
    )
    print_records(records)


console = partial(run, main)

if __name__ == "__main__":
    console()
