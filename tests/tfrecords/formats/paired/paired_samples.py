"""Small files of every format of images with captions, all saying the same where they can."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from torch_files import write_torch

from tfrecords.core.examples import encode_example
from tfrecords.core.writer import write_dataset

# file name -> split, number, captions
IMAGES: dict[str, tuple[str, int, list[str]]] = {
    "a.jpg": ("train", 11, ["A dog runs .", "Two dogs"]),
    "b.jpg": ("restval", 12, ["A man , sitting"]),
    "c.jpg": ("val", 13, ["A red car .", "a dog"]),
    "d.jpg": ("test", 14, ["A child"]),
}


def tokens(text: str) -> list[str]:
    return [word for word in text.lower().split() if word not in ".,"]


def picture(seed: int, size: tuple[int, int] = (24, 16), kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def karpathy() -> dict[str, Any]:
    images, sentid = [], 100
    for name, (split, number, captions) in IMAGES.items():
        sentences = []
        for text in captions:
            row = {"tokens": tokens(text), "raw": text, "imgid": number - 11, "sentid": sentid}
            sentences.append(row)
            sentid += 1
        images.append(
            {
                "filepath": "val2014",
                "sentids": [row["sentid"] for row in sentences],
                "filename": name,
                "imgid": number - 11,
                "split": split,
                "sentences": sentences,
                "cocoid": number,
            }
        )
    return {"images": images, "dataset": "coco"}


def coco() -> dict[str, Any]:
    annotations = [
        {"image_id": number, "id": 100 * number + i, "caption": text}
        for _, number, captions in IMAGES.values()
        for i, text in enumerate(captions)
    ]
    return {
        "info": {"year": 2017},
        "licenses": [],
        "images": [
            {"id": number, "file_name": name, "height": 16, "width": 24}
            for name, (_, number, _) in IMAGES.items()
        ],
        "annotations": annotations[::-1],
    }


def xray() -> dict[str, Any]:
    splits: dict[str, Any] = {"train": [], "val": [], "test": []}
    for number, (split, report) in enumerate(
        [("train", "The heart is normal. No effusion."), ("val", "Clear."), ("test", "Normal.")]
    ):
        folder = f"CXR{number}_IM-0001"
        splits[split].append(
            {
                "id": folder,
                "report": report,
                "image_path": [f"{folder}/0.png", f"{folder}/1.png"],
                "split": split,
            }
        )
    return splits


def flickr_lines() -> str:
    return "".join(
        f"{name}#{i}\t{text}\n"
        for name, (_, _, captions) in IMAGES.items()
        for i, text in enumerate(captions)
    )


def write_cocotalk(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    words = ["a", "dog", "runs", "two", "dogs", "man", "UNK", "red", "child"]
    numbers = {word: i for i, word in enumerate(words, start=1)}
    labels, starts, ends, images = [], [], [], []
    for name, (split, number, captions) in IMAGES.items():
        starts.append(len(labels) + 1)
        for text in captions:
            ids = [numbers.get(word, numbers["UNK"]) for word in tokens(text)]
            labels.append((ids + [0] * 8)[:8])
        ends.append(len(labels))
        images.append({"split": split, "file_path": f"val2014/{name}", "id": number})
    ix_to_word = {str(i): word for word, i in numbers.items()}
    path = folder / "cocotalk.json"
    path.write_text(json.dumps({"ix_to_word": ix_to_word, "images": images}))
    with h5py.File(folder / "cocotalk_label.h5", "w") as file:
        file["labels"] = np.array(labels, np.uint32)
        file["label_start_ix"] = np.array(starts, np.uint32)
        file["label_end_ix"] = np.array(ends, np.uint32)
        file["label_length"] = (np.array(labels) > 0).sum(1).astype(np.uint32)
    return path


def write_caption_rows(
    folder: Path, prefix: str, *, repeats: int, splits: dict[str, int], size: int = 3
) -> dict[str, np.ndarray]:
    """`splits`: split -> images, of five captions each. Returns the vectors of each split."""
    folder.mkdir(parents=True, exist_ok=True)
    vectors = {}
    for split, count in splits.items():
        vectors[split] = np.random.default_rng(count).normal(size=(count, size)).astype(np.float32)
        lines = [f"A {split} Dog {image} {i} ." for image in range(count) for i in range(5)]
        (folder / f"{prefix}{split}_caps.txt").write_text("\n".join(lines) + "\n")
        np.save(folder / f"{prefix}{split}_ims.npy", np.repeat(vectors[split], repeats, 0))
    return vectors


COURSE_WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "dog", "cat", "runs"]


def coco_pt(images: int = 3) -> dict[str, Any]:
    random = np.random.default_rng(0)

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        rows = [[1, 4, 5 + i % 2, 7, 3, 2, 0] for i in range(count)]
        return random.integers(0, 255, (count, 3, 4, 5), np.uint8), np.array(rows, np.int64)

    (train, train_captions), (val, val_captions) = part(images), part(2)
    return {
        "train_images": train,
        "train_captions": train_captions,
        "val_images": val,
        "val_captions": val_captions,
        "vocab": {
            "idx_to_token": list(COURSE_WORDS),
            "token_to_idx": {word: i for i, word in enumerate(COURSE_WORDS)},
        },
    }


class _TfdsShard:
    """The records of one split of a set with the features of `coco_captions`."""

    def __init__(self, split: str) -> None:
        self.split = split

    def __call__(self) -> Any:
        for number, (name, (split, coco_id, captions)) in enumerate(IMAGES.items()):
            if split == self.split:
                yield encode_example(
                    {
                        "captions/id": np.arange(len(captions)) + 100 * coco_id,
                        "captions/text": captions,
                        "image": picture(number),
                        "image/filename": name,
                        "image/id": coco_id,
                    }
                )


def write_tfds(folder: Path) -> Path:
    """A prepared set `my_captions/1.0.0` below a folder, as TFDS lays it out."""
    target = folder / "my_captions" / "1.0.0"
    target.parent.mkdir(parents=True)
    source = folder / "source.txt"
    source.write_text("x")
    write_dataset(
        folder=target,
        kind="any",
        name="my_captions",
        splits={split: [_TfdsShard(split)] for split, _, _ in IMAGES.values()},
        features=tfds.features.FeaturesDict(
            {
                "captions": tfds.features.Sequence({"id": np.int64, "text": tfds.features.Text()}),
                "image": tfds.features.Image(),
                "image/filename": tfds.features.Text(),
                "image/id": np.int64,
            }
        ),
        options={},
        sources=[source],
        progress=False,
    )
    return target


def write_all(folder: Path) -> dict[str, Path]:
    """A file or folder of every format but `tfds`: format -> path."""
    folder.mkdir(parents=True, exist_ok=True)

    def text(name: str, content: str) -> Path:
        (folder / name).write_text(content)
        return folder / name

    write_caption_rows(folder / "f8k", "f8k_", repeats=5, splits={"train": 2, "dev": 1, "test": 1})
    write_caption_rows(folder / "f8k_precomp", "", repeats=1, splits={"train": 2, "dev": 1})
    return {
        "karpathy": text("dataset_coco.json", json.dumps(karpathy())),
        "coco": text("captions_val2014.json", json.dumps(coco())),
        "flickr": text("Flickr8k.token.txt", flickr_lines()),
        "xray": text("annotation.json", json.dumps(xray())),
        "json_list": text(
            "raw.json",
            json.dumps(
                [
                    {"file_path": f"val/{name}", "id": number, "captions": captions}
                    for name, (_, number, captions) in IMAGES.items()
                ]
            ),
        ),
        "imageclef": text("caption_train.txt", "1471-2-1\tA scan of a chest .\nb-2\tBones\n"),
        "coco_pt": write_torch(folder / "coco.pt", coco_pt()),
        "cocotalk": write_cocotalk(folder / "talk"),
        "kiros": folder / "f8k",
        "vsepp": folder / "f8k_precomp",
    }
