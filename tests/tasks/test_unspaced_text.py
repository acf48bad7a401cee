"""Chinese corpora and captions: training, captioning and scoring by characters."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from captioner_runs import small

from configs.r2m import shapes
from r2m.evaluation.caption_scores import score_captions
from r2m.inference.caption_files import caption_files
from r2m.inference.consensus import ConsensusOptions
from r2m.inference.evaluate_run import evaluate_run
from r2m.inference.run import Run
from r2m.tasks.captioning.experiment import run_captioner
from r2m.tasks.unsupervised_captioning.experiment import run_stage
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.builders.corpora.build import CorporaOptions, build_corpora
from tfrecords.builders.images.build import ImagesOptions, build_images
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.formats.paired.reading import PairedSource
from tfrecords.formats.text.reading import parse_source
from tfrecords.pictures.feature_options import BackboneOptions

THINGS = ("狗", "猫", "自行车", "小汽车")
SPLITS = ("train", "val")


def sentence(number: int) -> str:
    draw = random.Random(number)
    first, second = draw.sample(THINGS, 2)
    color, place = draw.choice(("黑色", "白色", "红色")), draw.choice(("草地上", "街道旁边"))
    return f"一个{color}的{first}和一个{second}在{place} &amp; 公园里。"


@pytest.fixture(scope="module")
def chinese(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences, captions, detections and lists for the pictures of the embedded data set."""
    folder = tmp_path_factory.mktemp("chinese")
    (folder / "corpus.txt").write_text("\n".join(map(sentence, range(120))), encoding="utf-8")
    images = json.loads((pictures / "captions.json").read_text())["images"]
    categories = [{"id": number, "name": name} for number, name in enumerate(THINGS, 1)]
    captions: list[Any] = []
    boxes: list[Any] = []
    for number, image in enumerate(images):
        own = {"image_id": image["id"]}
        captions += [
            {**own, "id": len(captions) + i, "caption": sentence(number + i)} for i in (0, 1)
        ]
        box = {"category_id": number % 4 + 1, "bbox": [4, 4, 20, 20], "score": 0.9}
        boxes.append({**own, **box})
    for name, content in (("captions", captions), ("detections", boxes)):
        data = {"images": images, "annotations": content, "categories": categories}
        (folder / f"{name}.json").write_text(json.dumps(data))
    return folder


def build_sentences(chinese: Path, folder: Path, **changes: Any) -> Records:
    return build_corpora(
        CorporaOptions(
            folder=folder,
            name="chinese",
            sources=[parse_source(str(chinese / "corpus.txt"))],
            label_maps=[chinese / "detections.json"],
            **{"min_count": 2, "validation_fraction": 0.1, "shards": 1, **changes},
        ),
        progress=False,
    )


def build_pairs(chinese: Path, pictures: Path, folder: Path, **changes: Any) -> Records:
    return build_captions(
        CaptionsOptions(
            folder=folder,
            captions=(PairedSource.parse(f"coco:{chinese / 'captions.json'}"),),
            splits={split: pictures / f"{split}.txt" for split in SPLITS},
            images=(pictures / "images",),
            **{"min_count": 1, "shards": 1, **changes},
        ),
        progress=False,
    )


def test_text_without_spaces_names_the_flag(chinese: Path, pictures: Path, tmp_path: Path) -> None:
    message = r"of \d+ sentences are written without spaces .* Give --segmenter=characters"
    with pytest.raises(InputError, match=message):
        build_sentences(chinese, tmp_path / "corpora")
    with pytest.raises(InputError, match=message):
        build_pairs(chinese, pictures, tmp_path / "captions")
    whole: dict[str, Any] = {"min_words": 1, "min_count": 1, "max_unknown_fraction": 1.0}
    kept = build_sentences(
        chinese, tmp_path / "corpora", segmenter="words", require_concept=False, **whole
    )
    assert kept.segmenter == "words"
    with pytest.raises(InputError, match=message):
        build_pairs(chinese, pictures, tmp_path / "b", vocabulary=kept.folder, min_count=None)


def test_words_by_dictionary_are_kept_with_the_records(
    chinese: Path, pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("icu4py")
    records = build_sentences(chinese, tmp_path / "corpora", segmenter="icu")
    assert {"黑色", "草地", "公园", "自行车"} <= set(records.vocabulary().words)
    taken: dict[str, Any] = {"vocabulary": records.folder, "min_count": None}
    pairs = build_pairs(chinese, pictures, tmp_path / "a", **taken)
    assert pairs.vocabulary() == records.vocabulary()
    with pytest.raises(InputError, match="split by the segmenter icu, not by characters"):
        build_pairs(chinese, pictures, tmp_path / "b", segmenter="characters", **taken)


def test_r2m_learns_captions_and_is_scored_by_characters(
    chinese: Path, pictures: Path, small_network: dict[str, object], tmp_path: Path
) -> None:
    corpora = build_sentences(chinese, tmp_path / "corpora", segmenter="characters")
    assert corpora.manifest["converted"] == {"html_entities": 120}
    vocabulary = corpora.vocabulary()
    assert vocabulary.segmenter == corpora.manifest["options"]["segmenter"] == "characters"
    assert {"狗", "自", "行", "车", "自行车"} <= set(vocabulary.words)
    assert not {"amp", "amp;"} & set(vocabulary.words)
    detections = DetectionSource(path=chinese / "detections.json")
    images = build_images(
        ImagesOptions(
            folder=tmp_path / "images",
            images=pictures / "images",
            detections=(detections,),
            corpora=corpora.folder,
            splits={split: pictures / f"{split}.txt" for split in SPLITS},
            references=chinese / "captions.json",
            reference_splits=("val",),
            backbone=BackboneOptions(name="VGG16", weights="none", image_size=32),
            shards=1,
        ),
        progress=False,
    )
    assert images.vocabulary() == vocabulary
    config = shapes.get_config("test")
    config.model.update(small_network)
    config.data.corpora, config.data.images = str(corpora.folder), str(images.folder)
    config.stages.xe.batch_size, config.stages.xe.max_length = 8, 20
    config.stages.xe.steps = config.stages.xe.evaluate_every = 2
    run_stage("xe", config, tmp_path / "runs")
    run = tmp_path / "runs" / "xe"
    assert Run.load(run).vocabulary == vocabulary
    report = evaluate_run(run, images.folder, "val", tmp_path / "out", metrics=("bleu", "spice"))
    assert report.scores.tokenizer == "characters"
    assert "English" in report.scores.unavailable["spice"]
    assert "characters" in (tmp_path / "out/val.report.md").read_text()
    rows = caption_files(
        run, pictures / "images", tmp_path / "captions", detections=[str(detections.path)]
    ).rows
    assert all(" " not in row["caption"] for row in rows)
    assert {concept["word"] for row in rows for concept in row["concepts"]} == set(THINGS)


def test_a_captioner_learns_captions_and_is_scored_by_characters(
    chinese: Path, pictures: Path, tmp_path: Path
) -> None:
    network = BackboneOptions(name="VGG16", weights="none", image_size=64)
    records = build_pairs(
        chinese, pictures, tmp_path / "records",
        segmenter="characters", backbone=network, store_grid=True,
    )  # fmt: skip
    assert records.manifest["converted"]["html_entities"] > 20
    config = small(records.folder)
    config.stages.cross_entropy.steps = 2
    run_captioner(config, tmp_path / "runs")
    run = tmp_path / "runs" / "cross_entropy"
    options = ConsensusOptions(neighbors=2)
    report = evaluate_run(
        run, records.folder, "val", tmp_path / "out", metrics=("bleu", "cider"), consensus=options
    )
    assert report.scores.tokenizer == "characters"
    references = {"a": ["一只黑狗在草地上"], "b": ["街道旁边的小汽车"]}
    perfect = {name: texts[0] for name, texts in references.items()}
    scores = score_captions(perfect, references, metrics=("bleu",), tokenizer="characters").scores
    assert scores["bleu_4"] == pytest.approx(1.0, abs=1e-6)
    found = list(Run.load(run).examples(records, "val"))
    assert all("&" in text and "amp" not in text for row in found for text in row["texts"])
