"""R2M on Flickr8k without image-caption pairs, from raw data to scores.

Training uses no caption of Flickr8k; only the validation split has references.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2m.recipes.steps import Command, Recipe

# The paper's ablations. Both keep the reconstructor unchanged.
_OVERRIDES = {
    "merged_lstm": ("--config.model.decoder=lstm", "--config.model.fusion=concat"),
    "merged_concat": ("--config.model.fusion=concat",),
}


def _commands(data: Path, workspace: Path, run: str) -> Iterator[Command]:
    concepts = run.partition("_")[0]
    photographs = data / "flickr8k"
    # Detections -> minimum score.
    detectors = {"detections_coco.json": 0.4}
    if concepts == "merged":
        detectors["tags_imagenet.json"] = 0.08
    corpora = workspace / "records/corpora" / concepts
    images = workspace / f"records/images/flickr8k_{concepts}"
    workdir = workspace / f"runs/flickr8k_{run}"

    yield [
        "r2m-build-corpora", f"--name={concepts}", "--min_count=5", "--workers=2",
        *[f"--label_map={photographs / file}" for file in detectors],
        f"--source={data}/coco/captions_val2017.json",
        f"--source={data}/coco/karpathy_test5k_captions.json",
        f"--source={data}/corpora/coco_dev_captions.txt", f"--output={corpora}",
    ]  # fmt: skip
    yield [
        "r2m-build-images", f"--images={photographs}/images",
        *[f"--detections={photographs / file},{score}" for file, score in detectors.items()],
        f"--corpora={corpora}", "--min_concept_count=20", "--max_concepts=4",
        f"--split=train={photographs}/train_images.txt",
        f"--split=val={photographs}/dev_images.txt",
        f"--references={photographs}/captions.token.txt", "--reference_splits=val",
        "--backbone=MobileNet", "--alpha=0.75", "--workers=2",
        f"--weights={data}/models/mobilenet_v1_0.75_224_notop.weights.h5", f"--output={images}",
    ]  # fmt: skip
    yield [
        "r2m-train-curriculum", "--config=flickr8k", *_OVERRIDES.get(run, ()),
        f"--corpora={corpora}", f"--images={images}", f"--workdir={workdir}",
    ]  # fmt: skip
    for stage in ("xe", "xe_rec", "tri", "tri_rec"):
        yield [
            "r2m-evaluate", f"--run={workdir / stage}", f"--records={images}", "--split=val",
            "--gallery=12", "--gallery_seed=1",
        ]  # fmt: skip


RECIPE = Recipe(
    summary="R2M on Flickr8k photographs and COCO captions, without image-caption pairs.",
    data="flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt, "
    "detections_coco.json, tags_imagenet.json), coco/ (captions_val2017.json, "
    "karpathy_test5k_captions.json), corpora/ (coco_dev_captions.txt) and models/ "
    "(mobilenet_v1_0.75_224_notop.weights.h5)",
    runs={
        "coco": "concepts of a COCO detector",
        "merged": "concepts of the COCO detector, merged with those of an ImageNet classifier",
        "merged_lstm": "like `merged`, with an LSTM decoder and linear fusion",
        "merged_concat": "like `merged`, with linear fusion",
    },
    commands=_commands,
)
