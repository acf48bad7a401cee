"""Writer of the world of shapes as a raw data set, like one from a download."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.files import clear_disk_errors, make_folder, sync_folder
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


def make_shapes(folder: str | Path, options: ShapesOptions) -> None:
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
        folder: the data set's folder; must not exist, be empty, or be an earlier result of equal
            options, which is then kept unchanged.
        options: sizes and seed of the data set.

    Raises:
        InputError: the folder contains something else, was made with other options or has changed
            since; or no space is left.
    """
    folder = Path(folder)
    if _is_complete(folder, options):
        return
    incomplete = folder.with_name(folder.name + ".incomplete")
    with clear_disk_errors(folder, resumes=False):
        try:
            if incomplete.exists():
                # Making it takes seconds, so an interrupted run is not resumed.
                shutil.rmtree(incomplete)
            make_folder(incomplete / "images")
            _write(incomplete, options)
            incomplete.replace(folder)
            sync_folder(folder.parent)
        except OSError:
            shutil.rmtree(incomplete, ignore_errors=True)
            raise


def _is_complete(folder: Path, options: ShapesOptions) -> bool:
    """Returns whether the folder already contains exactly this data set."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    path = folder / MANIFEST
    if not path.is_file():
        state = f"is not empty and contains no {MANIFEST}" if folder.is_dir() else "is a file"
        raise InputError(f"{folder} {state}, so it is not a shapes data set: choose a new folder")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found, files = manifest["options"], manifest["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete {folder}") from error
    differing = [
        f"{name}: found {found.get(name)}, requested {value}"
        for name, value in _identity(options).items()
        if found.get(name) != value
    ]
    if differing:
        raise InputError(
            f"{folder} is a shapes data set with other options ({'; '.join(differing)}): "
            "choose another folder, use the same options, or delete it"
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

    def write_lines(name: str, lines: Iterable[str]) -> None:
        write(name, "".join(line + "\n" for line in lines).encode())

    def write_coco(name: str, **content: object) -> None:
        info = {"description": "The embedded world of shapes", "seed": options.seed}
        content = {"info": info, "images": images, **content}
        write(name, json.dumps(content, separators=(",", ":")).encode())

    size = options.image_size
    images: list[dict] = []
    detections: list[dict] = []
    tags: list[dict] = []
    captions: list[dict] = []
    for split in ("train", "val", "test"):
        number = getattr(options, f"{split}_images")
        names = [f"{split}_{index:06d}.png" for index in range(number)]
        for index, name in enumerate(names):
            image_id = len(images) + 1
            key = (options.seed, split, index)
            scene = lay_out(sample_facts(Stream("facts", *key)), Stream("layout", *key))
            picture, boxes = render(scene, size, Stream("background", *key))
            encoded = io.BytesIO()
            picture.save(encoded, format="PNG")
            write(f"images/{name}", encoded.getvalue())
            images.append({"id": image_id, "file_name": name, "width": size, "height": size})
            seen, tagged = _annotations(scene, boxes, size, image_id)
            detections += seen
            tags += tagged
            for caption in references(scene, Stream("captions", *key)):
                captions.append({"id": len(captions) + 1, "image_id": image_id, "caption": caption})
        write_lines(f"{split}.txt", names)
    write_coco("detections.json", categories=_categories(KIND_WORDS), annotations=detections)
    write_coco("tags.json", categories=_categories(TAG_WORDS), annotations=tags)
    write_coco("captions.json", annotations=captions)
    used = {plain(caption["caption"]) for caption in captions}
    write_lines("corpus.txt", _sentences(options, used))
    manifest = {"options": _identity(options), "files": dict(sizes)}
    write(MANIFEST, json.dumps(manifest, indent=1).encode())
    sync_folder(folder / "images")
    sync_folder(folder)


def _categories(words: Sequence[str]) -> list[dict]:
    return [{"id": i, "name": word} for i, word in enumerate(words, start=1)]


def _annotations(
    scene: Scene, boxes: list[Box], size: int, image_id: int
) -> tuple[list[dict], list[dict]]:
    """Returns annotations of an ideal detector and tagger, with high scores for main things."""
    facts = scene.facts
    concepts = concept_words(facts)

    def row(word: str, categories: Sequence[str], box: Box) -> dict:
        left, top, right, bottom = box
        return {
            "image_id": image_id,
            "category_id": categories.index(word) + 1,
            "bbox": [left, top, right - left, bottom - top],
            "score": round(0.99 - 0.04 * concepts.index(word), 2),
        }

    things = [placed.thing for placed in scene.objects]
    detections = [
        row(facts.things[thing].kind, KIND_WORDS, box)
        for thing, box in zip(things, boxes, strict=True)
    ]
    whole, main = (0, 0, size, size), boxes[things.index(0)]
    tags = [
        row(word, TAG_WORDS, whole if word == facts.place else main)
        for word in concepts
        if word in TAG_WORDS
    ]
    return detections, tags


def _sentences(options: ShapesOptions, captions: set[str]) -> Iterator[str]:
    """Yields different sentences, none of which is a caption of an image."""
    seen = set(captions)
    found = repeated = 0
    for index in count():
        text = corpus_sentence(Stream("corpus", options.seed, index))
        if plain(text) not in seen:
            seen.add(plain(text))
            yield text
            found += 1
            repeated = 0
        else:
            repeated += 1
        if found == options.sentences:
            return
        if repeated > _REPEATS:
            raise InputError(
                f"the world of shapes has fewer than {options.sentences} different "
                f"sentences: about {found} were found; request fewer"
            )


def plain(text: str) -> str:
    """Returns only the words of a sentence, for comparison."""
    return " ".join(text.lower().replace(",", " ").replace(".", " ").split())
