"""Trains a captioner or R2M further with rewards: the CIDEr-D of captions that it generates.

    r2m-train-self-critical --config=updown --workdir=workspace/runs/updown \\
        --captions=workspace/records/captions/flickr8k

Starts from the best weights of <workdir>/cross_entropy, which r2m-train-captioner trained.

R2M continues from its last stage in <workdir>, on images whose captions use its vocabulary:

    r2m-build-captions --vocabulary=workspace/records/corpora/flickr8k ...
    r2m-train-self-critical --config=r2m/flickr8k --workdir=workspace/runs/flickr8k \\
        --corpora=workspace/records/corpora/flickr8k --images=workspace/records/images/flickr8k \\
        --captions=workspace/records/captions/flickr8k
"""

from __future__ import annotations

from r2m.cli.captioner_training import stage_main
from r2m.cli.flag_groups import INPUT
from r2m.cli.value_flags import define_text

_CORPORA = define_text(
    "corpora",
    None,
    "R2M: folder of sentence records made by r2m-build-corpora.",
    group=INPUT,
    value="FOLDER",
)
_IMAGES = define_text(
    "images",
    None,
    "R2M: folder of image records made by r2m-build-images, with concepts.",
    group=INPUT,
    value="FOLDER",
)


def _r2m_records() -> dict[str, str | None]:
    return {"corpora": _CORPORA.value, "images": _IMAGES.value}


console = stage_main("self_critical", __doc__ or "", r2m_stage="reward", r2m_records=_r2m_records)

if __name__ == "__main__":
    console()
