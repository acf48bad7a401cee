"""Builds `features` records: features of images computed by a network, as inputs of captioners.

    r2m-extract-features --images=raw/flickr8k/images --backbone=ResNet101 --grid=14 \\
        --image_size=448 --output=records/features/flickr8k
    r2m-extract-features --images=raw/flickr8k/images --backbone=VGG19 --layer=fc2 \\
        --short_side=256 --crops=10 --unit_norm --output=records/features/flickr8k_vgg19
    r2m-extract-features --images=photographs --backbone=EfficientNetLite2 --image_size=390 \\
        --regions=records/detections/photographs --output=records/features/photographs
    r2m-extract-features --from=tsv:raw/coco/trainval_36 --output=records/features/coco_bottom_up

After an interruption the same command resumes at the first unfinished shard (--shards). Captioners
train on records of r2m-build-captions, which takes these features (--features=records:FOLDER). To
store random views of training images (--views), or to caption image files afterwards (r2m-caption),
let r2m-build-captions extract the features; it also has --backbone and --regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from absl import app

from r2m.cli import building, image_flags, region_flags
from r2m.cli.flag_groups import FEATURES, INPUT
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.record_reports import print_records
from r2m.cli.value_flags import define_switch, define_text

_IMAGES = define_text("images", None, "Folder with the image files.", group=INPUT, value="FOLDER")
_FROM = define_text(
    "from",
    None,
    "Read existing features, instead of --images and --backbone: tsv:FILE,... (bottom-up "
    "attention) or tsv:FOLDER, folders:PREFIX (PREFIX_fc, PREFIX_att, PREFIX_box), folders:FOLDER, "
    "h5:FILE,..., lmdb:PATH,..., npy:FILE, records:FOLDER. Boxes in pixels without sizes of images "
    "need ,sizes=COCO_JSON, rows without names ,ids=LIST. WORKSPACE.md, section Image features, "
    "lists the layouts.",
    group=INPUT,
    value="KIND:PATH",
)
image_flags.define_split_flag()
_GRID = define_text(
    "grid",
    "none",
    "Store feature maps: `native` as the network returns them, or a number of cells per side (14) "
    "by adaptive average pooling.",
    group=FEATURES,
    value="none|native|N",
)
_LAYER = define_text(
    "layer",
    None,
    "Use the output of this layer, e.g. fc2 of VGG19, instead of the last feature map.",
    group=FEATURES,
    value="LAYER",
)
_CROPS = define_whole(
    "crops",
    1,
    "10 averages the vectors of the corners, the center and their mirror images.",
    least=1,
    most=10,
    group=FEATURES,
)
_UNIT_NORM = define_switch(
    "unit_norm", False, "Divide every vector by its L2 norm.", group=FEATURES
)
building.define_backbone_flags()
region_flags.define_region_flags()
building.define_build_flags("features", runs_network=True)


def main(argv: Sequence[str]) -> None:
    """Reads the flags and builds the records."""
    from tfrecords.builders.features.build import FeatureRecordsOptions, build_features
    from tfrecords.formats.features.opening import open_feature_store

    grid = _GRID.value
    if grid not in ("none", "native") and not grid.isdecimal():
        raise app.UsageError(f"--grid={grid}: expected none, native or a number of cells")
    records = build_features(
        FeatureRecordsOptions(
            images=Path(_IMAGES.value) if _IMAGES.value else None,
            store=open_feature_store(_FROM.value) if _FROM.value else None,
            store_grid=grid != "none",
            **building.backbone_options(
                _LAYER.value,
                crops=_CROPS.value,
                unit_norm=_UNIT_NORM.value,
                grid=int(grid) if grid.isdecimal() else None,
            ),
            **region_flags.region_options(),
            **building.build_options("features"),
        )
    )
    print_records(records)


console = partial(run, main)

if __name__ == "__main__":
    console()
