"""Matching of image names between files and folders, by one rule for all code.

Code bases name the same image `val2014/COCO_val2014_000000000042.jpg`, `000000000042` or `42`. Two
names match if one of these forms is equal, tried in this order:

1. the full name (NFC, `/` between folders), with its folders;
2. the file name without folders;
3. the file name without its suffix (`.jpg`, `.npy`);
4. its number: `COCO_val2014_000000000042`, `000000000042` and `42` are 42.

If both names have folders, these must agree: `s1/0.png` is not `s2/0.png`. COCO's own file names
are unique without folders.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from typing import NamedTuple

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import normalize_name

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
_NUMBER = re.compile(r"(?:COCO_\w+_)?0*(\d+)", re.ASCII)


class AmbiguousNameError(InputError):
    """A name matches several images equally well. Aborts a build instead of guessing."""


class NameForms(NamedTuple):
    """The forms of one name, the most exact first; empty if it lacks a form.

    Attributes:
        full: normalized, with folders.
        base: without folders.
        stem: without folders and file suffix.
        number: number without leading zeros, if the name is a number or a COCO file name.
    """

    full: str
    base: str
    stem: str
    number: str


_LEVELS = tuple(range(len(NameForms._fields)))


@lru_cache(maxsize=1 << 12)
def name_forms(name: str) -> NameForms:
    """Returns the forms by which an image with this name is looked up."""
    full = normalize_name(name)
    base = full.rpartition("/")[2]
    stem = _SUFFIX.sub("", base)
    number = _NUMBER.fullmatch(stem)
    return NameForms(full, base, stem, number[1] if number else "")


SharedForm = tuple[int, str]
"""An index in `NameForms`, at least 1, and a form that several images have there."""


def shared_forms(names: Iterable[str]) -> frozenset[SharedForm]:
    """Returns the forms that several of these image names share, except full names.

    If an image is missing, an entry with such a form may belong to another image.
    """
    counts = Counter(
        (level, form)
        for name in set(names)
        for level, form in enumerate(name_forms(name))
        if level and form
    )
    return frozenset(form for form, count in counts.items() if count > 1)


class NameIndex:
    """Index of the image names in a file, a folder or a feature store."""

    def __init__(self, names: Iterable[str], where: str) -> None:
        """Stores the names; `where` is the name of the place in errors."""
        self._names = tuple(dict.fromkeys(names))
        self._where = where
        self._levels: dict[int, dict[str, dict[str, list[str]]]] = {}

    def find(self, *wanted: str, shared: frozenset[SharedForm] = frozenset()) -> str | None:
        """Returns the best match in the index; None if no name matches.

        Args:
            *wanted: names of one image. A number among them (`42`, the id of a data set) does not
                overrule the file name.
            shared: see `shared_forms`; these forms are not looked up, because the entry may belong
                to another image.

        Raises:
            AmbiguousNameError: several names match equally well; names them.
        """
        for level in _LEVELS:
            own = [name for name in wanted if (level, name_forms(name)[level]) not in shared]
            if found := self._matches(own, level):
                return self.check(found, wanted, level)
        return None

    def check(self, found: Mapping[str, str], wanted: Sequence[str], level: int = 0) -> str:
        """Returns the only match, if the image cannot match another entry.

        Args:
            found: matching name in the index -> the name of the image that it matches.
            wanted: all names of the image.
            level: level of the form by which they match.

        Raises:
            AmbiguousNameError: the image has several matches, the file name matches another entry
                (`3.jpg` with the number 7), or the number has two spellings (`7`, `007`).
        """
        every = dict(found)
        if all(name.isdigit() for name in found.values()):
            files = [name for name in wanted if not name.isdigit()]
            for deeper in _LEVELS[level + 1 :]:
                if others := self._matches(files, deeper):
                    every |= others
                    break
        for name in found.values():
            # A full name with its folders is unambiguous.
            if level or name.isdigit():
                spellings = self._spellings(name_forms(name))
                # The full name `7` is not `study/7`.
                every |= {key: key for key in spellings if level or "/" not in key}
        if len(every) > 1:
            raise AmbiguousNameError(
                f"{self._where}: image {' or '.join(map(repr, dict.fromkeys(wanted)))} may be any "
                f"of {', '.join(map(repr, sorted(every)[:4]))}: name it with its folders, or "
                "remove or rename all but one"
            )
        return next(iter(found))

    def _matches(self, wanted: Sequence[str], level: int) -> dict[str, str]:
        """Returns matching name in the index -> the name of the image that it matches."""
        index = self._level(level)
        found: dict[str, str] = {}
        for name in wanted:
            forms = name_forms(name)
            for stored in _candidates(index.get(forms[level], {}), forms) if forms[level] else ():
                if level == 0 or _folders_agree(forms, name_forms(stored)):
                    found.setdefault(stored, name)
        # Among names that differ only in normalization, prefer the identical one.
        exact = {stored: name for stored, name in found.items() if stored in wanted}
        return exact if level == 0 and exact else found

    def _spellings(self, wanted: NameForms) -> dict[str, str]:
        """Returns the names that consist only of the image's number: `7`, `007`."""
        found = self._bare.get(wanted.number, ()) if wanted.number else ()
        return {name: name for name in found if _folders_agree(name_forms(name), wanted)}

    @cached_property
    def _bare(self) -> dict[str, list[str]]:
        """Mapping from number to the names that consist of it, without a suffix."""
        found: dict[str, list[str]] = {}
        for name in self._names:
            forms = name_forms(name)
            if forms.number and forms.base == forms.stem:
                found.setdefault(forms.number, []).append(name)
        return found

    def _level(self, level: int) -> dict[str, dict[str, list[str]]]:
        """Returns form -> folder -> names; thousands of studies may have a `0.png`."""
        if level not in self._levels:
            index: dict[str, dict[str, list[str]]] = {}
            for name in self._names:
                forms = name_forms(name)
                if form := forms[level]:
                    index.setdefault(form, {}).setdefault(_folder(forms), []).append(name)
            self._levels[level] = index
        return self._levels[level]


def find_stored(
    wanted: Sequence[str], has: Callable[[str], bool], index: Callable[[], NameIndex]
) -> str | None:
    """Returns the name of an image in a store; see `NameIndex.find`.

    The names of a large store are listed only if needed, because that takes seconds.

    Args:
        wanted: names of one image.
        has: returns whether the store has an entry with exactly that name.
        index: returns the index of all names in the store.

    Raises:
        AmbiguousNameError: see `NameIndex.find`.
    """
    exact = [name for name in dict.fromkeys(wanted) if has(name)]
    if len(exact) != 1:
        return index().find(*wanted)
    return index().check({exact[0]: exact[0]}, wanted) if exact[0].isdigit() else exact[0]


def _candidates(by_folder: Mapping[str, Sequence[str]], wanted: NameForms) -> Iterator[str]:
    """Yields the names whose folders may agree with those of an image."""
    folder = _folder(wanted)
    if folder and not _is_coco(wanted):
        by_folder = {key: by_folder[key] for key in (folder, "") if key in by_folder}
    return chain.from_iterable(by_folder.values())


def _folder(forms: NameForms) -> str:
    """Returns the name of the innermost folder of a file; empty if the name has none."""
    return forms.full.rpartition("/")[0].rpartition("/")[2]


def _is_coco(forms: NameForms) -> bool:
    return forms.stem.startswith("COCO_") and bool(forms.number)


def _folders_agree(a: NameForms, b: NameForms) -> bool:
    if _is_coco(a) and a.stem == b.stem:
        return True
    folders = [forms.full.split("/")[:-1][::-1] for forms in (a, b)]
    return all(one == other for one, other in zip(*folders, strict=False))
