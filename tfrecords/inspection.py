"""Summary of a folder of records: counts, lengths and a few records as text."""

from __future__ import annotations

import io
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tfrecords.core.errors import InputError
from tfrecords.core.files import readable_bytes
from tfrecords.core.records import SENTENCE_LENGTHS, SENTENCE_WORDS, Example, Records, read_split
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.pictures.feature_options import VIEWS
from tfrecords.pictures.headers import read_header
from tfrecords.pictures.orientation import is_upright, predates_orientation

_MARKERS = 2  # start and end of every sentence
_CLASSES = 12
_BARS = 20


@dataclass(frozen=True, kw_only=True)
class SplitStatistics:
    """Counts of one split.

    Attributes:
        read: records that were read.
        lengths: name of a count -> value -> number of records (or sentences) with that value.
        classes: the most frequent concepts or detected classes, with their counts.
    """

    read: int
    lengths: dict[str, Counter[int]]
    classes: list[tuple[str, int]]


def split_statistics(records: Records, split: str, most: int | None = None) -> SplitStatistics:
    """Counts lengths and classes in a split.

    Args:
        records: an open folder.
        split: name of the split.
        most: records to read; None reads all.

    Raises:
        InputError: see `read_split`.
    """
    lengths: dict[str, Counter[int]] = {}
    classes: Counter[Any] = Counter()
    read = 0
    names = {"sentence", SENTENCE_LENGTHS, "concepts", "texts", "scores", "class_names", "boxes"}
    for example in itertools.islice(read_split(records, split, names), most):
        read += 1
        for what, numbers in _lengths(records.kind, example).items():
            lengths.setdefault(what, Counter()).update(numbers)
        classes.update(_classes(example))
    vocabulary = _vocabulary(records)
    named = [
        (_text(key) if vocabulary is None or isinstance(key, bytes) else vocabulary.words[key], n)
        for key, n in classes.most_common(_CLASSES)
    ]
    return SplitStatistics(read=read, lengths=lengths, classes=named)


def _lengths(kind: str, example: Example) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    if "sentence" in example:
        found["words per sentence"] = [len(example["sentence"]) - _MARKERS]
    if SENTENCE_LENGTHS in example:
        rows = [int(length) - _MARKERS for length in example[SENTENCE_LENGTHS]]
        found["words per sentence"], found["sentences per image"] = rows, [len(rows)]
    if "concepts" in example:
        what = "concepts per sentence" if kind == "corpora" else "concepts per image"
        found[what] = [len(example["concepts"])]
    if kind == "images" and "texts" in example:
        found["references per image"] = [len(example["texts"])]
    if kind == "detections":
        found["objects per image"] = [len(example["scores"])]
    if kind in ("features", "captions") and "boxes" in example:
        found["regions per image"] = [len(example["boxes"]) // 4]
    return found


def _classes(example: Example) -> list[Any]:
    if "class_names" in example:
        return list(example["class_names"])
    return [int(number) for number in example.get("concepts", ())]


def _vocabulary(records: Records) -> Vocabulary | None:
    return records.vocabulary() if records.vocabulary_sha256 else None


def describe_records(records: Records) -> list[tuple[str, str]]:
    """Returns the manifest as (name, text) rows: sizes, vocabulary, schema, skipped entries."""
    manifest = records.manifest
    size = sum(shard["bytes"] for split in manifest["splits"].values() for shard in split["shards"])
    rows = [
        ("kind", records.kind),
        ("name", records.name),
        ("size", readable_bytes(size)),
        ("identity", records.digest),
    ]
    for split in records.splits:
        shards = len(records.shards(split))
        rows.append((f"split {split}", f"{records.count(split):,} records in {shards} files"))
    if records.vocabulary_sha256:
        vocabulary = records.vocabulary()
        known, unknown = sum(vocabulary.counts[3:-1]), vocabulary.counts[-1]
        share = unknown / max(known + unknown, 1)
        rows.append(
            (
                "vocabulary",
                f"{len(vocabulary):,} words ({share:.2%} of the text is unknown), "
                f"sha256 {records.vocabulary_sha256[:12]}; most frequent: "
                + ", ".join(vocabulary.words[3:13]),
            )
        )
    rows += [(f"feature {name}", text) for name, text in _schema(records).items()]
    if is_upright(manifest):
        rows.append(("pictures", "turned upright by their EXIF orientation"))
    elif predates_orientation(manifest):
        rows.append(
            (
                "pictures",
                "not rotated: built before EXIF orientation was supported; features and boxes of "
                "rotated photographs refer to the picture before rotation. Build the records again",
            )
        )
    skipped = manifest.get("skipped", {})
    counts = skipped.get("counts", {})
    rows += [(f"left out: {reason}", f"{count:,}") for reason, count in counts.items()]
    if not counts:
        rows.append(("left out", "nothing"))
    for what, count in manifest.get("converted", {}).items():
        rows.append((f"converted: {what}", f"{count:,}"))
    examples = [f"{row['source']} ({row['reason']})" for row in skipped.get("list", [])[:3]]
    if examples:
        rows.append(("for example", "; ".join(examples)))
    rows += [("source", row["path"]) for row in manifest.get("sources", [])]
    rows.append(("built in", f"{manifest.get('wall_seconds', 0)} s"))
    return rows


def _schema(records: Records) -> dict[str, str]:
    """Returns feature -> kind and shape, from the TFDS description stored with the records."""
    path = records.folder / "features.json"
    try:
        content = json.loads(path.read_bytes())["featuresDict"]["features"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error!r}): build the records again with --overwrite"
        ) from error
    return {name: _type_text(feature) for name, feature in sorted(content.items())}


def _type_text(feature: Mapping[str, Any]) -> str:
    kind = feature.get("pythonClassName", "").rsplit(".", 1)[-1]
    if "sequence" in feature:
        return f"list of {_type_text(feature['sequence']['feature'])}"
    if "tensor" in feature:
        tensor = feature["tensor"]
        shape = [
            "?" if size == "-1" else size for size in tensor["shape"].get("dimensions", ())
        ]  # fmt: skip
        return f"{tensor['dtype']} [{', '.join(shape)}]"
    return {"Text": "text", "Image": "image"}.get(kind, kind)


def histogram(counts: Counter[int], width: int = 40) -> list[str]:
    """Returns the lines `value  count  bar` of a histogram, with values binned if many.

    Args:
        counts: value -> how often.
        width: characters of the longest bar.
    """
    low, high = min(counts), max(counts)
    step = -(-(high - low + 1) // _BARS)
    bins: Counter[int] = Counter()
    for value, count in counts.items():
        bins[low + (value - low) // step * step] += count
    longest = max(bins.values())
    lines = []
    for start in range(low, high + 1, step):
        end = min(start + step - 1, high)
        label = str(start) if end == start else f"{start}-{end}"
        bar = "#" * round(width * bins[start] / longest)
        lines.append(f"{label:>9}  {bins[start]:>9,}  {bar}".rstrip())
    return lines


def describe_example(example: Example, records: Records) -> list[tuple[str, str]]:
    """Returns a record as (feature, text) rows: ids as words, arrays by shape and range."""
    vocabulary = _vocabulary(records)
    rows: list[tuple[str, str]] = []
    for name, value in sorted(example.items()):
        if name == SENTENCE_LENGTHS:
            continue
        if name == SENTENCE_WORDS and vocabulary is not None:
            for sentence in sentences_of(example):
                rows.append(("sentences", vocabulary.decode(sentence)))
        elif name == "sentence" and vocabulary is not None:
            rows.append((name, vocabulary.decode(value)))
        elif name == "concepts" and vocabulary is not None:
            rows.append((name, ", ".join(vocabulary.words[int(number)] for number in value)))
        elif name.removesuffix(VIEWS).endswith("_feature"):
            rows += [(name, _describe_array(name, data, records)) for data in value]
        elif name == "image":
            rows.append((name, _describe_image(value[0])))
        elif isinstance(value, list):
            rows += [(name, _text(item)) for item in value]
        else:
            rows.append((name, _numbers(value)))
    return rows


def sentences_of(example: Example) -> list[np.ndarray]:
    """Returns the sentences of a `captions` record: int64 [T] each, with start and end id."""
    ends = np.cumsum(example[SENTENCE_LENGTHS], dtype=np.int64)
    return np.split(example[SENTENCE_WORDS], ends[:-1])


def _describe_array(name: str, data: bytes, records: Records) -> str:
    dtype = np.dtype(records.manifest["options"].get("feature_dtype", "float16")).newbyteorder("<")
    values = np.frombuffer(data, dtype).astype(np.float32)
    size = f"{len(values):,} x {dtype.name}"
    if not len(values):
        return size
    return f"{size}, {values.min():.3g} to {values.max():.3g}, mean {values.mean():.3g}"


def _describe_image(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind = image.format
        header = read_header(data)
        return f"{kind} {header.width} x {header.height}, {readable_bytes(len(data))}"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"{readable_bytes(len(data))} that cannot be read ({error})"


def _numbers(values: np.ndarray, most: int = 12) -> str:
    # Show all digits of integers: users compare and search ids.
    form = "d" if values.dtype.kind in "iu" else ".4g"
    shown = " ".join(f"{value:{form}}" for value in values[:most])
    return f"{shown} ... ({len(values)} in all)" if len(values) > most else shown


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
