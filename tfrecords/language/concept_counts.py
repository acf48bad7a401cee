"""Number of objects per concept in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from tfrecords.language.concepts import ConceptDictionary, Mention

_NUMBERS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 9,
}
_DIGITS = {str(number): min(number, 9) for number in range(2, 11)}
_GROUPS = {
    *("group", "groups", "crowd", "crowds", "bunch", "bunches", "lot", "lots"),
    *("herd", "herds", "flock", "flocks"),
}


def count_concepts(tokens: Sequence[str], dictionary: ConceptDictionary) -> dict[str, int]:
    """Returns the number of objects per concept in a sentence, in order of first mention.

    A singular counts 1, a plural 2. A number directly before it ("three dogs") counts as that
    number, at most 9; digits are used only before plurals ("bus 4 stop"). "A group of dogs" (or
    crowd, bunch, lot, herd, flock) counts 3. Several mentions of a concept are assumed to be the
    same objects: the largest count is used.

    Args:
        tokens: [T] words, plurals not folded.
        dictionary: finds the mentions.

    Returns:
        concept -> 1..9.
    """
    found: dict[str, int] = {}
    for mention in dictionary.find(tokens):
        count = _count_of(mention, tokens)
        found[mention.concept] = max(found.get(mention.concept, 0), count)
    return found


def _count_of(mention: Mention, tokens: Sequence[str]) -> int:
    before = tokens[mention.position - 1] if mention.position else ""
    if before in _NUMBERS:
        return _NUMBERS[before]
    if not mention.plural:
        return 1
    if before in _DIGITS:
        return _DIGITS[before]
    if before == "of" and mention.position > 1 and tokens[mention.position - 2] in _GROUPS:
        return 3
    return 2
