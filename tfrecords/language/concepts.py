"""Concepts: the object words that connect a text corpus with unrelated images.

A concept is one caption word (dog, beach, ski). Two kinds of names map to it: the *surface forms*
in sentences ("puppies", "hot dogs", "surfer") and the *class names* of a detector ("dog", "golden
retriever", "sports ball"). Both are looked up in one `ConceptDictionary`, so that a sentence and an
image of the same object get the same concept.

Without tables the rule is R2M's (spec section 2.1): a class maps to the last word of its name. The
shipped tables in `data/` (`DEFAULT_TABLES`) define more: which caption words name a concept, which
concepts a class maps to, and which classes do not occur in captions.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tfrecords.core.errors import InputError
from tfrecords.core.segmentation import MARKS
from tfrecords.core.text_files import numbered_lines, to_nfc
from tfrecords.language.label_maps import LabelMap
from tfrecords.language.plurals import plural_of
from tfrecords.language.tokenization import tokenize

# A class `concept:dog` is the concept dog itself, whatever the class `dog` of a detector maps to.
CONCEPT_CLASS = "concept:"
_DATA = Path(__file__).parent / "data"
DEFAULT_TABLES: tuple[Path, ...] = (
    _DATA / "synonyms.tsv",
    _DATA / "classes.tsv",
    _DATA / "imagenet.tsv",
)
_FORMAT_VERSION = 1
_NOTHING = "-"
# Words of Thai, Hindi and others contain combining marks.
_LETTERS = rf"(?:[^\W_]|[{MARKS}])+"
_WORD = re.compile(rf"{_LETTERS}(?:[-']{_LETTERS})*")


class Mention(NamedTuple):
    """One mention of a concept in a sentence.

    Attributes:
        position: index of the mention's first token.
        length: number of tokens of the mention (2 for "hot dog").
        concept: the concept word.
        plural: whether the surface form is a plural ("dogs", "men", "people").
    """

    position: int
    length: int
    concept: str
    plural: bool


@dataclass(frozen=True)
class ConceptDictionary:
    """Concepts, with the words and the detector classes that map to them.

    Attributes:
        words: the concepts, sorted and unique.
        forms: surface form -> concepts. A form is a lower-case token or several joined by a
            space; the tuple is empty if the form names no concept ("orange" the color).
        plurals: the forms that are plurals.
        classes: class name as in `class_key` -> concepts (empty if captions do not mention it).
    """

    words: tuple[str, ...]
    forms: Mapping[str, tuple[str, ...]]
    plurals: frozenset[str] = frozenset()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Returns the number of concepts."""
        return len(self.words)

    @cached_property
    def _beginnings(self) -> dict[str, dict[str, int]]:
        """First token of a form -> second token -> number of tokens of the longest such form."""
        found: dict[str, dict[str, int]] = {}
        for form in self.forms:
            first, *rest = form.split()
            longest = found.setdefault(first, {})
            if rest:
                longest[rest[0]] = max(longest.get(rest[0], 0), len(rest) + 1)
        return found

    def concept_of(self, token: str) -> str | None:
        """Returns the (first) concept of a single token, or None. `find` also finds "hot dog"."""
        concepts = self.forms.get(token)
        return concepts[0] if concepts else None

    def is_plural(self, token: str) -> bool:
        """Returns whether a surface form is a plural: dogs, men, people."""
        return token in self.plurals

    def find(self, tokens: Sequence[str]) -> list[Mention]:
        """Finds all concepts in a tokenized sentence, left to right, longest form first.

        "a hot dog" mentions hotdog but not dog; "a surfer" mentions person and surfboard.

        Args:
            tokens: [T] lower-case tokens.

        Returns:
            The mentions in order of position; a form of two concepts yields two mentions.
        """
        forms, beginnings = self.forms, self._beginnings
        mentions: list[Mention] = []
        free, last = 0, len(tokens) - 1
        for position in [i for i, token in enumerate(tokens) if token in beginnings]:
            if position < free:
                continue
            form, length = tokens[position], 1
            longest = beginnings[form].get(tokens[position + 1] if position < last else "", 1)
            while longest > 1:
                several = " ".join(tokens[position : position + longest])
                if position + longest <= len(tokens) and several in forms:
                    form, length = several, longest
                    break
                longest -= 1
            for concept in forms.get(form, ()):
                mentions.append(Mention(position, length, concept, form in self.plurals))
            free = position + length
        return mentions

    def concepts_of_class(self, class_name: str) -> tuple[str, ...]:
        """Returns the concepts of a detector's class.

        The class is looked up by its full name, then by the first name of a WordNet list
        ("seashore, coast, ..."). A class that is in no label map of the dictionary maps to the last
        word of that first name, if this word is a concept or a form of one. A class
        `concept:WORD` (of refined detections) is that concept and no other.

        Returns:
            Concept words, all in `words`; empty if captions do not mention the class.
        """
        if class_name.startswith(CONCEPT_CLASS):
            word = class_name.removeprefix(CONCEPT_CLASS)
            return (word,) if word in self.words else ()
        names = class_name.split(",")
        for name in (class_name, names[0]):
            if (known := self.classes.get(class_key(name))) is not None:
                return known
        last = _last_word(names[0])
        return self.forms.get(last, ()) if last else ()

    def to_json(self) -> str:
        """Returns the dictionary as JSON text; equal dictionaries yield equal text."""
        return json.dumps(
            {
                "format_version": _FORMAT_VERSION,
                "words": list(self.words),
                "forms": {form: list(self.forms[form]) for form in sorted(self.forms)},
                "plurals": sorted(self.plurals),
                "classes": {name: list(self.classes[name]) for name in sorted(self.classes)},
            },
            ensure_ascii=False,
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str, source: str = "concept dictionary") -> ConceptDictionary:
        """Reads the output of `to_json`; ignores additional keys.

        Args:
            text: the JSON text.
            source: name of the dictionary in messages.

        Raises:
            InputError: the text is not JSON, keys are missing, or the format version differs.
        """
        try:
            data = json.loads(text)
            version = data["format_version"]
            if version != _FORMAT_VERSION:
                raise InputError(
                    f"{source} has format version {version}, expected {_FORMAT_VERSION}: "
                    "build the corpus again with this version"
                )
            return cls(
                words=tuple(data["words"]),
                forms={form: tuple(found) for form, found in data["forms"].items()},
                plurals=frozenset(data["plurals"]),
                classes={name: tuple(found) for name, found in data["classes"].items()},
            )
        except json.JSONDecodeError as error:
            raise InputError(f"{source} is not JSON: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{source} is not a concept dictionary: {type(error).__name__} {error}; expected "
                "the concepts.json of a corpora folder"
            ) from error

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of `to_json`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def class_key(name: str) -> str:
    """Returns the normalized form of a class name: NFC, lower case, single spaces, no `_`."""
    return " ".join(to_nfc(name).replace("_", " ").lower().split())


def build_concept_dictionary(
    label_maps: Sequence[LabelMap],
    synonyms: Sequence[str | Path] = DEFAULT_TABLES,
    segmenter: str = "words",
) -> ConceptDictionary:
    """Builds the dictionary of the concepts that the given detectors can detect.

    Each class maps to the concepts in its row of a class table, or else to the last word of its
    name. Each concept gets its plural as a form. A row of a word table adds a form for those of its
    concepts that a detector can detect; a phrase without such a concept names none, because its
    words mean something else ("hot dog" is no dog, also without a detector of hot dogs). A row that
    would map a concept word to other concepts only
    (cupcake -> cake, if a detector has the class cupcake) is ignored.

    Args:
        label_maps: the detectors' classes; at least one. If two label maps share a class name, the
            first one determines its concepts.
        synonyms: word and class tables (see `data/synonyms.tsv` and `data/classes.tsv` for the
            two formats); later files take precedence. Empty: only R2M's last-word rule.
        segmenter: how sentences are split into words; the segmented variants of forms are added.

    Raises:
        InputError: a label map is missing, a table is malformed, or no class maps to a concept.
    """
    if not label_maps:
        raise InputError("a concept dictionary needs at least one label map")
    tables = [_read_table(Path(path)) for path in synonyms]
    word_rows = {form: row for table in tables for form, row in table.words.items()}
    classes: dict[str, tuple[str, ...]] = {}
    for label_map in label_maps:
        class_rows = _rows_for(label_map, tables)
        for name in label_map.classes.values():
            classes.setdefault(class_key(name), _decide_class(name, class_rows))
    words = sorted({word for concepts in classes.values() for word in concepts})
    if not words:
        names = ", ".join(label_map.name for label_map in label_maps)
        raise InputError(f"no class of the label maps {names} maps to a concept word")

    forms: dict[str, tuple[str, ...]] = {word: (word,) for word in words}
    plurals: set[str] = set()
    _add_plurals({word: (word,) for word in words}, forms, plurals)
    known = set(words)
    nouns: dict[str, tuple[str, ...]] = {}
    for form, (concepts, kind) in word_rows.items():
        found = tuple(concept for concept in concepts if concept in known)
        is_other_concept = form in known and form not in concepts
        is_phrase = " " in form
        if concepts and ((not found and not is_phrase) or is_other_concept):
            continue
        forms[form] = found
        plurals.discard(form)
        if kind == "plural":
            plurals.add(form)
        elif not kind and concepts:
            nouns[form] = found
    _add_plurals(nouns, forms, plurals)
    if segmenter != "words":
        for form, concepts in list(forms.items()):
            forms.setdefault(" ".join(tokenize(form, segmenter=segmenter)) or form, concepts)
    return ConceptDictionary(
        words=tuple(words), forms=forms, plurals=frozenset(plurals), classes=classes
    )


def _decide_class(name: str, rows: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    first = name.split(",")[0]
    for key in (class_key(name), class_key(first)):
        if key in rows:
            return rows[key]
    last = _last_word(first)
    return (last,) if last else ()


def _last_word(name: str) -> str | None:
    found = _WORD.findall(class_key(name))
    return found[-1] if found else None


def _add_plurals(
    nouns: Mapping[str, tuple[str, ...]], forms: dict[str, tuple[str, ...]], plurals: set[str]
) -> None:
    """Adds the plural of every noun, unless that form exists already."""
    for noun, concepts in nouns.items():
        *before, last = noun.split()
        plural = " ".join([*before, plural_of(last)])
        if plural not in forms:
            forms[plural] = concepts
            plurals.add(plural)


@dataclass(frozen=True)
class _Table:
    """A word table or a class table; `whole_list`: see `data/imagenet.tsv`."""

    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    words: dict[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    whole_list: bool = False


def _rows_for(label_map: LabelMap, tables: Sequence[_Table]) -> dict[str, tuple[str, ...]]:
    """Returns the class rows that apply to a label map.

    A `necklace` of a classifier is usually wrong, one of a detector is not. A table for a whole
    published list of classes therefore applies only to label maps with at least half of that list.
    """
    names = {class_key(name) for name in label_map.classes.values()}
    names |= {class_key(name.split(",")[0]) for name in label_map.classes.values()}
    rows: dict[str, tuple[str, ...]] = {}
    for table in tables:
        if not table.whole_list or 2 * len(names & table.classes.keys()) >= len(table.classes):
            rows.update(table.classes)
    return rows


def _read_table(path: Path) -> _Table:
    rows = [
        (number, [to_nfc(cell.strip()) for cell in line.split("\t")])
        for number, line in numbered_lines(path, "concept table")
        if line.strip() and not line.startswith("#")
    ]
    if len(rows) < 2:
        raise InputError(f"the concept table {path} has no rows")
    number, header = rows[0]
    kinds = (["word", "concepts"], ["class", "concepts"], ["class", "concepts", "whole list"])
    if header not in kinds:
        raise InputError(
            f"{path}:{number}: the first row must be one of the headers "
            f"{', '.join('<TAB>'.join(kind) for kind in kinds)}; found {'<TAB>'.join(header)!r}"
        )
    table = _Table(whole_list=len(header) == 3)
    is_word = header[0] == "word"
    marks = ("", "plural", "exact") if is_word else ("",)
    for number, cells in rows[1:]:
        mark = cells[2] if len(cells) == 3 else ""
        if len(cells) not in (2, 3) or not all(cells[:2]) or mark not in marks:
            raise InputError(
                f"{path}:{number}: expected `{header[0]}<TAB>concepts`"
                f"{' and perhaps <TAB>plural or <TAB>exact' if is_word else ''}, "
                f"found {'<TAB>'.join(cells)!r}"
            )
        key = class_key(cells[0])
        if key in table.words or key in table.classes:
            raise InputError(f"{path}:{number}: {cells[0]!r} has two rows in this table")
        concepts = _concepts(cells[1], path, number)
        if is_word:
            table.words[key] = (concepts, mark)
        else:
            table.classes[key] = concepts
    return table


def _concepts(cell: str, path: Path, number: int) -> tuple[str, ...]:
    if cell == _NOTHING:
        return ()
    concepts = tuple(dict.fromkeys(part.strip().lower() for part in cell.split(",")))
    for concept in concepts:
        if not _WORD.fullmatch(concept):
            raise InputError(
                f"{path}:{number}: {concept!r} is not a single word, as concepts must be"
            )
    return concepts
