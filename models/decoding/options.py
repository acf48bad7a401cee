"""Options of decoding, and their checks; does not import TensorFlow."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

METHODS = ("beam", "sample", "gumbel")
LENGTH_PENALTIES = ("power", "wu")

# Word ids of a phrase.
Phrase = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """Options of a search for captions, or of sampling.

    Lengths in scores include the end marker. Constraints exclude words from a step without changing
    the probabilities of the others: log p is always that of the captioner.

    Attributes:
        method: `beam` for beam search; `sample` for sampling by inverting the cumulative
            distribution of words; `gumbel` for sampling by adding Gumbel noise to log p and
            selecting the maximum.
        beam_size: number of living hypotheses; 1 for greedy search.
        returned: number of captions returned per image, best first; the search of an image ends
            once they are certain. For sampling, the number of draws. None returns `beam_size`.
        max_length: maximum number of words of a caption, end marker included.
        length_penalty: divisor of log p in the score of n words: `power`, n**alpha; `wu`,
            ((5 + n) / 6)**alpha (Wu et al. 2016).
        length_normalization: alpha. Upstream uses 0.
        beam_groups: number of equal groups of the beam. Each group is penalized for words of the
            groups before it (diverse beam search, Vijayakumar et al. 2016). 1 is plain beam search.
        diversity: penalty on log p of a word, for each hypothesis of an earlier group that has the
            word at the same step. It affects which hypotheses a group keeps; scores do not
            contain it.
        temperature: temperature of sampling; log p is divided by it before a word is drawn.
        top_k: draws from this number of most likely words; None draws from all words.
        top_p: draws from the most likely words whose probabilities first sum to this or more.
        seed: seed of sampling.
        min_length: minimum number of words of a caption, end marker excluded.
        block_trigrams: whether each trigram may occur only once per caption.
        block_repeats: whether to forbid that a word follows itself.
        bad_endings: ids of words that must not be the last word of a caption.
        required: phrases that each caption must contain. The search then has one beam per number
            of required words that a hypothesis contains (grid beam search, Hokamp and Liu 2017).
        excluded: phrases that no caption may contain.
        suppressed: ids that are never generated (padding, start, unknown).
        start_id: id of the start marker, the first input.
        end_id: id of the end marker.
    """

    method: str = "beam"
    beam_size: int = 3
    returned: int | None = None
    max_length: int = 20
    length_penalty: str = "power"
    length_normalization: float = 0.0
    beam_groups: int = 1
    diversity: float = 0.5
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int = 0
    min_length: int = 0
    block_trigrams: bool = False
    block_repeats: bool = False
    bad_endings: tuple[int, ...] = ()
    required: tuple[Phrase, ...] = ()
    excluded: tuple[Phrase, ...] = ()
    suppressed: tuple[int, ...] = (0, 1)
    start_id: int = 1
    end_id: int = 2

    def __post_init__(self) -> None:
        """Raises ValueError for values that are out of range or contradict each other."""
        if problem := next(self._problems(), None):
            raise ValueError(problem)

    @property
    def samples(self) -> bool:
        """True if captions are sampled instead of searched."""
        return self.method != "beam"

    @property
    def never_generated(self) -> tuple[int, ...]:
        """Ids of words that are not generated at any step: suppressed and excluded words."""
        words = [phrase[0] for phrase in self.excluded if len(phrase) == 1]
        return tuple(dict.fromkeys([*self.suppressed, *words]))

    def _problems(self) -> Iterator[str]:
        yield from self._values_out_of_range()
        yield from self._contradictions()

    def _values_out_of_range(self) -> Iterator[str]:
        for name, known in (("method", METHODS), ("length_penalty", LENGTH_PENALTIES)):
            if (found := getattr(self, name)) not in known:
                yield f"{name} must be one of {', '.join(known)}, found {found!r}"
        for name in ("beam_size", "max_length", "beam_groups", "top_k", "returned"):
            if (count := getattr(self, name)) is not None and count < 1:
                yield f"{name} must be at least 1, found {count}"
        for name in ("length_normalization", "diversity"):
            if not 0 <= getattr(self, name) < math.inf:
                yield f"{name} must be a number of at least 0, found {getattr(self, name)}"
        if not 0 < self.temperature < math.inf:
            yield f"temperature must be a number above 0, found {self.temperature}"
        if not 0 < self.top_p <= 1:
            yield f"top_p must be above 0 and at most 1, found {self.top_p}"
        if self.min_length < 0:
            yield f"min_length must be at least 0, found {self.min_length}"

    def _contradictions(self) -> Iterator[str]:
        if not self.samples and self.returned is not None and self.returned > self.beam_size:
            yield f"returned={self.returned} must be between 1 and beam_size={self.beam_size}"
        if self.length_penalty == "wu" and not self.length_normalization:
            yield "length_penalty='wu' needs length_normalization above 0 (upstream: 0.9)"
        if self.beam_size % self.beam_groups:
            yield (
                f"beam_groups={self.beam_groups} must divide beam_size={self.beam_size}: all "
                "groups have the same size"
            )
        if self.min_length >= self.max_length:
            yield (
                f"min_length={self.min_length} must be below max_length={self.max_length}, which "
                "includes the end marker"
            )
        if not self.required:
            return
        if self.samples or self.beam_groups > 1:
            other = "beam_groups above 1" if not self.samples else f"method {self.method!r}"
            yield (
                f"required words (must_contain) require plain beam search, found {other}: set "
                "method to beam and beam_groups to 1"
            )
        words = sum(map(len, self.required))
        if words >= self.max_length:
            yield (
                f"{words} required words and the end marker do not fit into "
                f"max_length={self.max_length}"
            )
        yield from self._excluded_and_required()

    def _excluded_and_required(self) -> Iterator[str]:
        for phrase in self.required:
            for other in (*self.excluded, *((word,) for word in self.suppressed)):
                if contains(phrase, other):
                    yield f"the required words {phrase} contain {other}, which are excluded"
            if self.block_repeats and any(a == b for a, b in itertools.pairwise(phrase)):
                yield f"the required words {phrase} repeat a word, which block_repeats excludes"


def contains(words: Phrase, phrase: Phrase) -> bool:
    """Returns whether `phrase` occurs in `words`."""
    places = range(len(words) - len(phrase) + 1)
    return any(words[i : i + len(phrase)] == phrase for i in places)


def largest_beam(vocabulary_size: int, options: DecodingOptions) -> int:
    """Returns the largest W: the number of words, except the end marker, that may come first."""
    excluded = {*options.never_generated, options.end_id} & set(range(vocabulary_size))
    return vocabulary_size - len(excluded)
