"""The one rule by which names of images in different files and folders are matched.

Code bases call the same image `val2014/COCO_val2014_000000000042.jpg`, `000000000042` or `42`. Two
names match where one of these forms is equal, tried in this order:

1. the name as it is written (NFC, `/` between folders), with its folders;
2. the file name without folders;
3. that without the suffix of a file (`.jpg`, `.npy`);
4. the number of it: `COCO_val2014_000000000042`, `000000000042` and `42` are 42.

Folders that both names have must agree: `s1/0.png` is not `s2/0.png`. COCO's own file names are
unique without folders.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from typing import NamedTuple

from tfrecords.errors import InputError
from tfrecords.text_files import normalize_name

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
_NUMBER = re.compile(r"(?:COCO_\w+_)?0*(\d+)", re.ASCII)


class AmbiguousNameError(InputError):
    """A name matches several images equally well. Ends a build: a guess would be silent."""


class NameForms(NamedTuple):
    """The forms of one name, the most exact first; empty where it has none.

    Attributes:
        full: normalized, with folders.
        base: without folders.
        stem: without folders and the suffix of a file.
        number: of a name that is one, or COCO's file name with one; without leading zeros.
    """

    full: str
    base: str
    stem: str
    number: str


_LEVELS = tuple(range(len(NameForms._fields)))


@lru_cache(maxsize=1 << 12)
def name_forms(name: str) -> NameForms:
    """Returns the forms under which an image of this name is looked up."""
    full = normalize_name(name)
    base = full.rpartition("/")[2]
    stem = _SUFFIX.sub("", base)
    number = _NUMBER.fullmatch(stem)
    return NameForms(full, base, stem, number[1] if number else "")


SharedForm = tuple[int, str]
"""A place in `NameForms` from 1 on, and a form that several images have there."""


def shared_forms(names: Iterable[str]) -> frozenset[SharedForm]:
    """Returns the forms that several of these names of images have, except whole names.

    An entry that matches such a form may be that of the other image, where one image is missing.
    """
    counts = Counter(
        (level, form)
        for name in set(names)
        for level, form in enumerate(name_forms(name))
        if level and form
    )
    return frozenset(form for form, count in counts.items() if count > 1)


class NameIndex:
    """Finds the name that a file, a folder or a store of features has for an image."""

    def __init__(self, names: Iterable[str], where: str) -> None:
        """Keeps the names that are there; `where` is what errors call the place."""
        self._names = tuple(dict.fromkeys(names))
        self._where = where
        self._levels: dict[int, dict[str, dict[str, list[str]]]] = {}

    def find(self, *wanted: str, shared: frozenset[SharedForm] = frozenset()) -> str | None:
        """Returns the name here that matches best; None if no name does.

        Args:
            *wanted: names of one image. A number among them (`42`, the id of a data set) does not
                decide against the file name.
            shared: see `shared_forms`; these forms are not looked up, since the entry may be that
                of the other image.

        Raises:
            AmbiguousNameError: several names match equally well; names them.
        """
        for level in _LEVELS:
            own = [name for name in wanted if (level, name_forms(name)[level]) not in shared]
            if found := self._matches(own, level):
                return self.check(found, wanted, level)
        return None

    def check(self, found: Mapping[str, str], wanted: Sequence[str], level: int = 0) -> str:
        """Returns the only match, if the image can be no other one here.

        Args:
            found: matching name here -> the name of the image that it matches.
            wanted: all names of the image.
            level: of the form by which they match.

        Raises:
            AmbiguousNameError: there are several matches, the file name stands for another entry
                (`3.jpg` with the number 7), or the number is spelled in two ways (`7`, `007`).
        """
        every = dict(found)
        if all(name.isdigit() for name in found.values()):
            files = [name for name in wanted if not name.isdigit()]
            for deeper in _LEVELS[level + 1 :]:
                if others := self._matches(files, deeper):
                    every |= others
                    break
        for name in found.values():
            # A name with its folders, as it is written, can be no other one.
            if level or name.isdigit():
                spellings = self._spellings(name_forms(name))
                # `7` as it is written is not `study/7`.
                every |= {key: key for key in spellings if level or "/" not in key}
        if len(every) > 1:
            raise AmbiguousNameError(
                f"{self._where}: image {' or '.join(map(repr, dict.fromkeys(wanted)))} may be any "
                f"of {', '.join(map(repr, sorted(every)[:4]))}: name it with its folders, or "
                "remove or rename all but one"
            )
        return next(iter(found))

    def _matches(self, wanted: Sequence[str], level: int) -> dict[str, str]:
        """Matching names here -> the name of the image that each matches."""
        index = self._level(level)
        found: dict[str, str] = {}
        for name in wanted:
            forms = name_forms(name)
            for stored in _candidates(index.get(forms[level], {}), forms) if forms[level] else ():
                if level == 0 or _folders_agree(forms, name_forms(stored)):
                    found.setdefault(stored, name)
        # Of names that differ in their spelling alone, the one that is spelled the same.
        exact = {stored: name for stored, name in found.items() if stored in wanted}
        return exact if level == 0 and exact else found

    def _spellings(self, wanted: NameForms) -> dict[str, str]:
        """The names that are the number of an image and nothing else: `7`, `007`."""
        found = self._bare.get(wanted.number, ()) if wanted.number else ()
        return {name: name for name in found if _folders_agree(name_forms(name), wanted)}

    @cached_property
    def _bare(self) -> dict[str, list[str]]:
        """Number -> the names that are this number, without a suffix."""
        found: dict[str, list[str]] = {}
        for name in self._names:
            forms = name_forms(name)
            if forms.number and forms.base == forms.stem:
                found.setdefault(forms.number, []).append(name)
        return found

    def _level(self, level: int) -> dict[str, dict[str, list[str]]]:
        """Form -> folder of the file -> names; thousands of studies may have a `0.png`."""
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
    """Returns the name that a store has for an image; see `NameIndex.find`.

    The names of a large store are listed only where they are needed, as that takes seconds.

    Args:
        wanted: names of one image.
        has: whether the store has an entry of exactly that name.
        index: gives the index of all names in the store.

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
    """The name of the folder that a file lies in; empty where the name has none."""
    return forms.full.rpartition("/")[0].rpartition("/")[2]


def _is_coco(forms: NameForms) -> bool:
    return forms.stem.startswith("COCO_") and bool(forms.number)


def _folders_agree(a: NameForms, b: NameForms) -> bool:
    if _is_coco(a) and a.stem == b.stem:
        return True
    folders = [forms.full.split("/")[:-1][::-1] for forms in (a, b)]
    return all(one == other for one, other in zip(*folders, strict=False))
