"""Stages of the curriculum: training data and initial weights of each."""

from __future__ import annotations

import dataclasses

from tfrecords.core.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One stage (Guo et al. 2020).

    Attributes:
        name: name of the stage and of its run folder.
        sentences: whether it is trained on the corpus.
        images: whether it is trained on images.
        reconstruct: whether its loss has the reconstruction terms.
        rewards: whether it is trained with rewards of its captions, instead of their alignment.
        previous: stage whose weights it starts from; None starts from scratch.
        summary: summary for `--help` and logs.
    """

    name: str
    sentences: bool
    images: bool
    reconstruct: bool
    previous: str | None
    summary: str
    rewards: bool = False

    @property
    def compiles(self) -> bool:
        """True if XLA can compile the loss, which requires static caption lengths.

        Captions that the model generates for images have dynamic lengths.
        """
        return not self.images

    @property
    def compares_rows(self) -> bool:
        """True if batches cannot be divided: they contain the negatives of the triplet loss."""
        return self.images and not self.rewards

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the model that its loss reaches, and that it therefore trains."""
        parts = ["embedding", "encoder", "fusion", "decoder"]
        if self.rewards:
            return (*parts, "softmax_weights", "softmax_bias")
        if self.sentences:
            parts += ["softmax_weights", "softmax_bias"]
        if self.images or self.reconstruct:
            parts.append("reconstructor")
        if self.images:
            parts.append("image_map")
        return tuple(parts)


CURRICULUM = ("xe", "xe_rec", "tri", "tri_rec")

STAGES = {
    spec.name: spec
    for spec in (
        StageSpec(
            name="xe",
            sentences=True,
            images=False,
            reconstruct=False,
            previous=None,
            summary="stage 1: concepts to sentence on the corpus (cross entropy)",
        ),
        StageSpec(
            name="xe_rec",
            sentences=True,
            images=False,
            reconstruct=True,
            previous="xe",
            summary="stage 2: stage 1 plus reconstruction of the concepts from the sentence",
        ),
        StageSpec(
            name="tri",
            sentences=False,
            images=True,
            reconstruct=False,
            previous="xe_rec",
            summary="stage 3: aligns images with their generated captions (triplet loss)",
        ),
        StageSpec(
            name="tri_rec",
            sentences=False,
            images=True,
            reconstruct=True,
            previous="tri",
            summary="stage 4: stage 3 plus reconstruction of the concepts from the caption",
        ),
        StageSpec(
            name="joint",
            sentences=True,
            images=True,
            reconstruct=True,
            previous=None,
            summary="the losses of stages 2 and 4 at once, from scratch",
        ),
    )
}


# Not part of the curriculum, which is trained without pairs.
REWARD = StageSpec(
    name="reward",
    sentences=False,
    images=True,
    reconstruct=False,
    previous=CURRICULUM[-1],
    summary="rewards of captions, from reference captions of the same images",
    rewards=True,
)


def stage_spec(name: str) -> StageSpec:
    """Returns the stage named `name`; raises an `InputError` that lists the known ones."""
    known = {**STAGES, REWARD.name: REWARD}
    if name not in known:
        raise InputError(f"unknown stage {name!r}; known: {', '.join(known)}")
    return known[name]
