"""The shards of a table, on this machine or in a store, with what tells one state of a file from another."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from xmc.data.shards import SUFFIXES, natural_key
from xmc.errors import DataError
from xmc.store.location import Location, store_errors

WILD = frozenset("*?[")


@dataclass(frozen=True)
class ShardFile:
    """One file of a table: `name` is its path below the folder or pattern that was given.

    `size` and `modified_ns` are its state: a file that was written again has another.
    """

    location: Location
    name: str
    size: int
    modified_ns: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ShardFile:
        """What `to_dict` gave."""
        return cls(**{**values, "location": Location(**values["location"])})

    def has_changed(self) -> bool:
        """Whether the file is no longer in the state in which it was found."""
        with store_errors(self.location):
            system, path = self.location.opened()
            info = system.get_file_info(path)
        return (info.size, info.mtime_ns or 0) != (self.size, self.modified_ns)


def list_shards(pattern: str) -> list[ShardFile]:
    """The `.parquet` and `.arrow` files that a file, a folder (with all below it) or a pattern names, in natural order.

    In a pattern `*` and `?` stand for characters of one name and `**` for any folders; a URL has no `?`, which begins
    its options. In a folder, names that begin with `_` or `.` are left out.
    Raises: DataError when there is none, or when a file is neither; ArtifactError when a store refuses.
    """
    place = Location.of(pattern)
    with store_errors(place):
        found = _below_pattern(place) if set(place.path) & WILD else _below(place)
    if not found:
        raise DataError(
            f"there is no table {place.shown}.", hint="Give a .parquet or .arrow file, a folder or a pattern."
        )
    for shard in found:
        if PurePosixPath(shard.name).suffix not in SUFFIXES:
            shown = shard.location.shown
            raise DataError(f"{shown}: a table ends in {' or '.join(SUFFIXES)}.", hint=_as_parquet(shown))
    return sorted(found, key=lambda shard: natural_key(shard.name))


def _as_parquet(shown: str) -> str:
    """How a file of another kind becomes a table of queries, where that is one command.

    >>> print(_as_parquet("q.csv"))
    Make it one, with columns id and text: \
python -c 'import pyarrow.csv as t, pyarrow.parquet as p; p.write_table(t.read_csv("q.csv"), "q.parquet")'
    """
    stem, _, kind = shown.removesuffix(".gz").rpartition(".")
    reader = {"jsonl": "json", "ndjson": "json", "json": "json", "csv": "csv"}.get(kind)
    if reader is None:
        return "Lines of text are searched by: xmc search - --run RUN < FILE" if kind in ("txt", "text") else ""
    call = f"p.write_table(t.read_{reader}({json.dumps(shown)}), {json.dumps(stem + '.parquet')})"
    code = shlex.quote(f"import pyarrow.{reader} as t, pyarrow.parquet as p; {call}")
    return f"Make it one, with columns id and text: python -c {code}"


def _below(place: Location) -> list[ShardFile]:
    """The file itself, or the tables in the folder."""
    from pyarrow.fs import FileType

    system, path = place.opened()
    info = system.get_file_info(path)
    if info.type == FileType.File:
        return [ShardFile(place, info.base_name, info.size, info.mtime_ns or 0)]
    found = _listed(place, recursive=True) if info.type == FileType.Directory else []
    return [
        shard
        for shard in found
        if PurePosixPath(shard.name).suffix in SUFFIXES
        and not any(part[0] in "._" for part in PurePosixPath(shard.name).parts)
    ]


def _below_pattern(place: Location) -> list[ShardFile]:
    parts = place.path.split("/")
    first = next(number for number, part in enumerate(parts) if set(part) & WILD)
    folder = Location(place.root, "/".join(parts[:first]) or ("" if place.root else "/"))
    matches = pattern_of("/".join(parts[first:])).fullmatch
    return [shard for shard in _listed(folder, recursive=len(parts) > first + 1) if matches(shard.name)]


def _listed(folder: Location, *, recursive: bool) -> list[ShardFile]:
    from pyarrow.fs import FileSelector, FileType

    system, path = folder.opened()
    try:
        infos = system.get_file_info(FileSelector(path, recursive=recursive))
    except (FileNotFoundError, NotADirectoryError):
        return []
    prefix = path.rstrip("/") + "/"
    files = [(info.path.removeprefix(prefix), info) for info in infos if info.type == FileType.File]
    return [ShardFile(folder.child(name), name, info.size, info.mtime_ns or 0) for name, info in files]


def pattern_of(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern of paths.

    >>> [bool(pattern_of("**/p-[0-9]*.arrow").fullmatch(name)) for name in ("p-1.arrow", "a/b/p-10.arrow", "p-x.arrow")]
    [True, True, False]
    >>> bool(pattern_of("*.arrow").fullmatch("a/b.arrow"))
    False
    """
    pieces = re.split(r"(\*\*/|\*|\?|\[[^\]]*\])", pattern)
    meaning = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    translated = []
    for number, piece in enumerate(pieces):
        if number % 2 and piece.startswith("["):
            translated.append(piece.replace("[!", "[^", 1))
        else:
            translated.append(meaning[piece] if number % 2 else re.escape(piece))
    return re.compile("".join(translated))
