"""Files of features in the layouts of other code bases, a few numbers each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

IDS = tuple(range(1, 9))
REGIONS = {i: np.random.default_rng(i).random((10 + i, 32), np.float32) for i in IDS}
PADDED = np.stack([np.pad(REGIONS[i], ((0, 8 - i), (0, 0))) for i in IDS])
GRIDS = {i: np.random.default_rng(50 + i).random((49, 32), np.float32) for i in IDS}
# x1, y1, x2, y2 in images of 200 (height) x 400 pixels.
HEIGHT, WIDTH = 200, 400
BOXES = {i: np.tile(np.float32([40, 50, 200, 100]), (10 + i, 1)) for i in IDS}
RELATIVE = {i: BOXES[i] / np.float32([WIDTH, HEIGHT, WIDTH, HEIGHT]) for i in IDS}
STORED_BOX = [0.25, 0.1, 0.5, 0.5]


def write(path: Path, **arrays: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array
    return path


def meshed_memory(path: Path) -> Path:
    fields = {f"{i}_features": REGIONS[i] for i in IDS} | {f"{i}_boxes": BOXES[i] for i in IDS}
    return write(path, **fields, **{f"{i}_cls_prob": np.ones((10 + i, 7)) for i in IDS})


def features_only(path: Path) -> Path:
    return write(path, **{f"{i}_features": REGIONS[i] for i in IDS})


def dlct(path: Path) -> Path:
    meshed_memory(path)
    with h5py.File(path, "a") as file:
        for i in IDS:
            file[f"{i}_grids"] = GRIDS[i]
            file[f"{i}_size"] = np.array([[HEIGHT, WIDTH]]) if i % 2 else [HEIGHT, WIDTH]
            file[f"{i}_mask"] = np.ones((10 + i, 49))
    return path


def grids_only(path: Path) -> Path:
    return write(path, **{f"{i}_grids": GRIDS[i] for i in IDS})


def group_per_image(path: Path) -> Path:
    fields = {f"COCO_val2014_{i:012}__features": REGIONS[i] for i in IDS}
    return write(path, **fields, **{f"COCO_val2014_{i:012}__bbox": RELATIVE[i] for i in IDS})


def group_per_field(path: Path) -> Path:
    fields = {f"features__{i}": REGIONS[i] for i in IDS}
    return write(path, **fields, **{f"boxes__{i}": RELATIVE[i] for i in IDS})


def folders_of_images(path: Path) -> Path:
    return write(path, **{f"{('a', 'b')[i % 2]}__{i}.jpg": REGIONS[i] for i in IDS})


def zero_padded(path: Path) -> Path:
    return write(path, **{f"{i:012}": REGIONS[i] for i in IDS})


def columns(path: Path) -> Path:
    boxes = np.stack([np.resize(RELATIVE[i], (18, 4)) for i in IDS])
    counts = np.array([[10 + i] for i in IDS])
    return write(path, features=PADDED, image_id=np.array(IDS), boxes=boxes, num_boxes=counts)


def text_columns(path: Path) -> Path:
    names = np.array([f"COCO_val2014_{i:012}.jpg" for i in IDS], dtype="S")
    size = {"image_h": np.full(8, HEIGHT), "image_w": np.full(8, WIDTH)}
    boxes = np.stack([np.resize(BOXES[i], (18, 4)) for i in IDS])
    return write(path, feats=PADDED, img_ids=names, bbox=boxes, num_bbox=np.array(IDS) + 10, **size)


def nocaps(path: Path) -> Path:
    """Rows of various lengths, as the baseline of nocaps stores them."""
    with h5py.File(path, "w") as file:
        file["image_id"], file["num_boxes"] = np.array(IDS), np.array(IDS) + 10
        for name, arrays in (("features", REGIONS), ("boxes", RELATIVE)):
            column = file.create_dataset(name, (8,), h5py.vlen_dtype(np.float32))
            for row, i in enumerate(IDS):
                column[row] = arrays[i].reshape(-1)
    return path


def adaptive(path: Path) -> Path:
    """`train.hdf5` of bottom-up attention for VQA, with the regions of all images in a row."""
    ends = np.cumsum([10 + i for i in IDS])
    spatial = np.concatenate([np.pad(RELATIVE[i], ((0, 0), (0, 2))) for i in IDS])
    return write(
        path,
        image_features=np.concatenate([REGIONS[i] for i in IDS]),
        image_bb=np.concatenate([BOXES[i] for i in IDS]),
        spatial_features=spatial,
        pos_boxes=np.stack([np.roll(ends, 1) * (np.arange(8) > 0), ends], axis=1),
        image_id=np.array(IDS),
    )


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    layout.__name__: layout
    for layout in (
        *(meshed_memory, features_only, dlct, grids_only, group_per_image, group_per_field),
        *(folders_of_images, zero_padded, columns, text_columns, nocaps, adaptive),
    )
}
WITH_BOXES = ("dlct", "group_per_image", "group_per_field", "columns", "text_columns", "nocaps",
              "adaptive")  # fmt: skip
WITH_SIZES = ("dlct", "text_columns")


def karpathy(path: Path, ids: tuple[int, ...] = IDS) -> Path:
    """Captions of the images: of the last two for validation."""
    sentence = {"raw": "a dog runs", "tokens": ["a", "dog", "runs"]}
    images = [
        {
            "filename": f"COCO_val2014_{i:012}.jpg",
            "cocoid": i,
            "split": "val" if i > 6 else "train",
            "sentences": [sentence | {"sentid": i}],
        }
        for i in ids
    ]
    path.write_text(json.dumps({"images": images}))
    return path
