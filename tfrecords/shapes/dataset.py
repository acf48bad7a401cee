"""Writer of the world of shapes as a raw data set, like one from a download."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.files import FULL_DISK, make_folder, sync_folder
from tfrecords.shapes.captions import references
from tfrecords.shapes.corpus import corpus_sentence
from tfrecords.shapes.layout import Scene, lay_out
from tfrecords.shapes.rendering import Box, render
from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import KIND_WORDS, TAG_WORDS, concept_words, sample_facts

# Increase whenever the same arguments produce a different data set.
FORMAT_VERSION = 1
MANIFEST = "shapes.json"
SMALLEST_IMAGE, LARGEST_IMAGE = 32, 1024
# Number of consecutive repeated sentences after which the world has no new ones.
_REPEATS = 20_000
_KIND_IDS = {name: i for i, name in enumerate(KIND_WORDS, start=1)}
_TAG_IDS = {name: i for i, name in enumerate(TAG_WORDS, start=1)}


@dataclass(frozen=True, kw_only=True)
class ShapesOptions:
    """Options of a data set of shapes; equal options make equal data sets.

    Attributes:
        train_images, val_images, test_images: number of pictures per split.
        sentences: number of lines of the text corpus, all different.
        image_size: width and height of the pictures in pixels.
        seed: seed of the data set.
    """

    train_images: int = 400
    val_images: int = 100
    test_images: int = 100
    sentences: int = 4000
    image_size: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for invalid sizes."""
        for name in ("train_images", "val_images", "test_images", "sentences"):
            if (found := getattr(self, name)) < 1:
                raise InputError(f"{name} must be at least 1, found {found}")
        if not SMALLEST_IMAGE <= self.image_size <= LARGEST_IMAGE:
            raise InputError(
                f"image_size must be {SMALLEST_IMAGE} to {LARGEST_IMAGE} pixels, "
                f"found {self.image_size}"
            )

    @property
    def splits(self) -> dict[str, int]:
        """Number of images per split."""
        return {"train": self.train_images, "val": self.val_images, "test": self.test_images}


def make_shapes(
    folder: str | Path,
    *,
    train_images: int = 400,
    val_images: int = 100,
    test_images: int = 100,
    sentences: int = 4000,
    image_size: int = 96,
    seed: int = 0,
) -> None:
    """Makes the embedded data set, unless it exists already.

    The folder contains
    `images/*.png`;
    `train.txt`, `val.txt`, `test.txt`: the file names of each split, one per line;
    `detections.json`: the exact objects as COCO results (`images`, `categories`, `annotations`
    with `bbox` x, y, width, height in pixels, `score`, `category_id`);
    `tags.json`: color, size (box of the thing) and place (whole image), same format;
    `captions.json`: COCO captions, five references per image of every split;
    `corpus.txt`: one sentence per line, about scenes that are independent of the images;
    `shapes.json`: the options and the size in bytes of every file.

    The data set is written to a temporary folder and renamed when complete, so an existing folder
    is complete. A larger split or corpus begins with the images or sentences of a smaller one,
    except for sentences that are also a caption of the images.

    Args:
        folder: the data set's folder; must not exist, be empty, or be an earlier result of the same
            arguments, which is then kept unchanged.
        train_images: number of pictures of the training split.
        val_images: see `train_images`.
        test_images: see `train_images`.
        sentences: number of lines of the corpus.
        image_size: width and height of the pictures in pixels.
        seed: seed of the data set.

    Raises:
        InputError: the sizes are invalid; the folder contains something else, was made with other
            arguments or has changed since; or no space is left.
    """
    folder = Path(folder)
    options = ShapesOptions(
        train_images=train_images,
        val_images=val_images,
        test_images=test_images,
        sentences=sentences,
        image_size=image_size,
        seed=seed,
    )
    if _is_there(folder, options):
        return
    incomplete = folder.with_name(folder.name + ".incomplete")
    try:
        if incomplete.exists():
            # Making it takes seconds, so an interrupted run is not resumed.
            shutil.rmtree(incomplete)
        make_folder(incomplete / "images")
        _write(incomplete, options)
        os.replace(incomplete, folder)  # noqa: PTH105 - the plain call is the atomic one
        sync_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(incomplete, ignore_errors=True)
        if error.errno in FULL_DISK:
            raise InputError(
                f"no space left to make the shapes data set in {folder} ({error.strerror}); "
                "nothing was kept: make room or choose another folder, and run it again"
            ) from error
        raise


def _is_there(folder: Path, options: ShapesOptions) -> bool:
    """Returns whether the folder already contains exactly this data set."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; the shapes data set needs a new folder")
    manifest_path = folder / MANIFEST
    if not manifest_path.is_file():
        if any(folder.iterdir()):
            raise InputError(
                f"{folder} is not empty and holds no {MANIFEST}, so it is not a shapes data set: "
                "choose a new folder"
            )
        return False
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        found, files = manifest["options"], manifest["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{manifest_path} cannot be read ({error}): delete {folder}") from error
    wanted = _identity(options)
    differing = [
        f"{name}: there {found.get(name)}, asked for {value}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if differing:
        raise InputError(
            f"{folder} holds a shapes data set made with other arguments ({'; '.join(differing)}): "
            "choose another folder, ask for the same, or delete it"
        )
    for name, size in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            state = f"{path.stat().st_size} bytes" if path.is_file() else "missing"
            raise InputError(
                f"{path} was changed since the data set was made: {state}, expected {size} bytes; "
                f"delete {folder} and run again"
            )
    return True


def _identity(options: ShapesOptions) -> dict[str, int]:
    return {"format_version": FORMAT_VERSION, **asdict(options)}


def _write(folder: Path, options: ShapesOptions) -> None:
    sizes: dict[str, int] = {}

    def write(name: str, data: bytes) -> None:
        with (folder / name).open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        sizes[name] = len(data)

    def write_json(name: str, **content: object) -> None:
        info = {"description": "The embedded world of shapes", "seed": options.seed}
        write(name, json.dumps({"info": info, **content}, separators=(",", ":")).encode())

    images: list[dict] = []
    detections: list[dict] = []
    tags: list[dict] = []
    captions: list[dict] = []
    for split, count in options.splits.items():
        names = []
        for index in range(count):
            image_id = len(images) + 1
            key = (options.seed, split, index)
            facts = sample_facts(Stream("facts", *key))
            scene = lay_out(facts, Stream("layout", *key))
            picture, boxes = render(scene, options.image_size, Stream("background", *key))
            encoded = io.BytesIO()
            picture.save(encoded, format="PNG")
            names.append(f"{split}_{index:06d}.png")
            write(f"images/{names[-1]}", encoded.getvalue())
            images.append(
                {
                    "id": image_id,
                    "file_name": names[-1],
                    "width": options.image_size,
                    "height": options.image_size,
                }
            )
            seen, tagged = _annotations(scene, boxes, options.image_size, image_id)
            detections += seen
            tags += tagged
            for caption in references(scene, Stream("captions", *key)):
                captions.append({"id": len(captions) + 1, "image_id": image_id, "caption": caption})
        write(f"{split}.txt", "".join(name + "\n" for name in names).encode())
    write_json(
        "detections.json", images=images, categories=_categories(_KIND_IDS), annotations=detections
    )
    write_json("tags.json", images=images, categories=_categories(_TAG_IDS), annotations=tags)
    write_json("captions.json", images=images, annotations=captions)
    used = {plain(caption["caption"]) for caption in captions}
    lines = list(_sentences(options, used))
    write("corpus.txt", "".join(line + "\n" for line in lines).encode())
    manifest = {"options": _identity(options), "files": dict(sizes)}
    write(MANIFEST, json.dumps(manifest, indent=1).encode())
    sync_folder(folder / "images")
    sync_folder(folder)


def _categories(ids: dict[str, int]) -> list[dict]:
    return [{"id": i, "name": name} for name, i in ids.items()]


def _annotations(
    scene: Scene, boxes: list[Box], size: int, image_id: int
) -> tuple[list[dict], list[dict]]:
    """Returns annotations of an ideal detector and tagger, with high scores for main things."""
    facts = scene.facts
    words = concept_words(facts)
    scores = {word: round(0.99 - 0.04 * rank, 2) for rank, word in enumerate(words)}
    first: dict[int, list[int]] = {}
    detections = []
    for placed, box in zip(scene.objects, boxes, strict=True):
        bbox = [box.left, box.top, box.right - box.left, box.bottom - box.top]
        first.setdefault(placed.thing, bbox)
        kind = facts.things[placed.thing].kind
        detections.append(_row(image_id, _KIND_IDS[kind], bbox, scores[kind]))
    whole = [0, 0, size, size]
    tags = [
        _row(image_id, _TAG_IDS[word], whole if word == facts.place else first[0], scores[word])
        for word in words
        if word in _TAG_IDS
    ]
    return detections, tags


def _row(image_id: int, category_id: int, bbox: list[int], score: float) -> dict:
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


def _sentences(options: ShapesOptions, captions: set[str]) -> Iterator[str]:
    """Yields different sentences, none of which is a caption of an image."""
    seen = set(captions)
    found = index = repeated = 0
    while found < options.sentences:
        text = corpus_sentence(Stream("corpus", options.seed, index))
        index += 1
        if plain(text) in seen:
            repeated += 1
            if repeated > _REPEATS:
                raise InputError(
                    f"the world of shapes has fewer than {options.sentences} different "
                    f"sentences: about {found} were found; request fewer"
                )
            continue
        repeated = 0
        seen.add(plain(text))
        found += 1
        yield text


def plain(text: str) -> str:
    """Returns only the words of a sentence, for comparison."""
    return " ".join(text.lower().replace(",", " ").replace(".", " ").split())
