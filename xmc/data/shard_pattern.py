"""What a `--shards` names: a file or folder that is there, or a pattern of names below a folder."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from xmc.errors import DataError
from xmc.store.location import Location, store_errors

WILD = frozenset("*?[")


@dataclass(frozen=True)
class ShardPattern:
    """`wild` is a pattern of names below `folder`; empty names all of them. A file is its own folder and `is_file`."""

    folder: Location
    wild: str = ""
    is_file: bool = False

    @classmethod
    def of(cls, text: str) -> ShardPattern:
        """What a text names. What exists is itself, whatever characters its name has.

        Raises: DataError for a pattern that cannot be; ArtifactError when a store refuses.
        """
        from pyarrow.fs import FileType

        place = Location.of(text)
        parts = place.path.split("/")
        for number, part in enumerate(parts):
            above = Location(place.root, "/".join(parts[: number + 1]))
            if set(part) & WILD and _kind(above) == FileType.NotFound:
                start = "/".join(parts[:number]) or ("" if place.root else "/")
                wild = "/".join(parts[number:])
                pattern_of(wild)  # what cannot be is refused here
                return cls(Location(place.root, start), wild)
        return cls(place, is_file=_kind(place) == FileType.File)

    @property
    def recursive(self) -> bool:
        """Whether names in folders of the folder may be meant."""
        return not self.wild or "/" in self.wild or self.wild == "**"

    def matches(self, name: str) -> bool:
        """Whether a path from the folder on is meant, were it not hidden."""
        return not self.wild or bool(pattern_of(self.wild).fullmatch(name))

    def hides(self, name: str) -> bool:
        """Whether a part of the path begins with `_` or `.`, as temporary files do, and no part of the pattern does."""
        asked = {part[0] for part in self.wild.split("/") if part}
        return any(part[:1] in (".", "_") and part[0] not in asked for part in name.split("/"))

    def names(self, place: Location, *, real: Location) -> bool:
        """Whether a table at this place would be one of those named, by its path or by `real`, where links lead."""
        return self._names(self.folder.shown, place.shown) or self._names(self._real_folder, real.shown)

    @functools.cached_property
    def _real_folder(self) -> str:
        """Asked of the disk once, for thousands of places are compared with it."""
        return self.folder.real.shown

    def _names(self, folder: str, place: str) -> bool:
        start = folder.rstrip("/")
        if self.is_file:
            return place == start
        name = place.removeprefix(start + "/")
        return name != place and self.matches(name) and not self.hides(name)


def _kind(place: Location) -> object:
    with store_errors(place):
        system, path = place.opened()
        return system.get_file_info(path).type


@functools.lru_cache(maxsize=64)
def pattern_of(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern of paths.

    >>> [bool(pattern_of("**/p-[0-9]*.arrow").fullmatch(name)) for name in ("p-1.arrow", "a/b/p-10.arrow", "p-x.arrow")]
    [True, True, False]
    >>> [bool(pattern_of(pattern).fullmatch("a/b.arrow")) for pattern in ("*.arrow", "**.arrow", "a/**", "**")]
    [False, False, True, True]

    Raises: DataError for `[…]` that is no set of characters.
    """
    pieces = re.split(r"((?<![^/])\*\*(?:/|$)|\*|\?|\[[^\]]*\])", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".+", "*": "[^/]*", "?": "[^/]"}
    translated = []
    for number, piece in enumerate(pieces):
        if number % 2 and piece.startswith("["):
            translated.append(_one_of(piece, pattern))
        else:
            translated.append(meaning[piece] if number % 2 else re.escape(piece))
    return re.compile("".join(translated))


def _one_of(piece: str, pattern: str) -> str:
    """The regular expression of `[…]` in a pattern; like `?` it never stands for a `/`."""
    other = piece[1] in "!^"
    characters = piece[2 if other else 1 : -1]
    escaped = re.sub(r"([\\\[&~|])", r"\\\1", characters)
    translated = f"(?!/)[{'^' if other else ''}{escaped}]"
    try:
        if not characters:
            raise re.error("it is empty")
        re.compile(translated)
    except re.error as error:
        raise DataError(
            f"the pattern '{pattern}' cannot be read: '{piece}' is no set of characters ({error.msg}).",
            hint="[0-9] is one of these, [!0-9] any other, [[] is a [, * any part of a name, ? one character.",
        ) from error
    return translated
