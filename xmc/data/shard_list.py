"""The shards of a table, on this machine or in a store, with what tells one state of a file from another."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from xmc.data.folder_walk import DANGLING, FILE, FOLDER, LOOP, SPECIAL, Entry, walk
from xmc.data.other_kinds import hint_of_name
from xmc.data.shard_pattern import ShardPattern
from xmc.data.shards import SUFFIXES, natural_key
from xmc.data.written_tables import folders_written, why_written
from xmc.errors import ArtifactError, DataError
from xmc.given_paths import given_place
from xmc.store.location import Location, store_errors
from xmc.utf8 import is_utf8

NO_TABLE = "no table"  # nobody would expect it among the shards
NO_FILE = "pipe, socket or device"
MOST_REASONS = 5
OTHER_ENDINGS = ("with the ending", "without an ending")  # said last: the others may have been meant
SECOND_NS = 1_000_000_000


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
        """Whether the file is no longer in the state in which it was found.

        Raises: DataError when it cannot be asked.
        """
        with unreadable(self.location):
            system, path = self.location.opened()
            info = system.get_file_info(path)
        return not self.is_in_state(info.size, info.mtime_ns or 0)

    def is_in_state(self, size: int | None, modified_ns: int) -> bool:
        """Whether it was found with this size and time; that of an object counts to the second.

        MinIO, Ceph and others tell it finer in a list of objects than when they are asked for one.
        """
        unit = SECOND_NS if self.location.root else 1
        return (size, modified_ns // unit) == (self.size, self.modified_ns // unit)


@contextlib.contextmanager
def unreadable(place: Location) -> Iterator[None]:
    """Let what is refused of one file be a DataError that names it: other files may be read all the same."""
    try:
        with store_errors(place):
            yield
    except ArtifactError as error:
        raise DataError(error.message, hint=error.hint) from error
    except FileNotFoundError:
        raise DataError(f"there is no file {place.shown}.") from None
    except OSError as error:
        raise DataError(
            f"{place.shown} cannot be opened: {error.strerror or error}.", hint="May this user read it?"
        ) from error


@dataclass(frozen=True)
class ShardListing:
    """The shards that were named, in natural order, the patterns that named them, and what was left out."""

    shards: tuple[ShardFile, ...]
    patterns: tuple[ShardPattern, ...]
    notes: tuple[str, ...] = ()


def list_shards(named: str | Path | Sequence[str | Path]) -> ShardListing:
    """The `.parquet` and `.arrow` files that a file, a folder (with all below it) or a pattern names, or several do.

    In a pattern `*` and `?` stand for characters of one name, `**/` for any folders and `**` at its end for all below;
    a URL has no `?`, which begins its options. A folder that a pattern names is left out, with a note. Names that begin
    with `_` or `.` are left out, unless the pattern has such a name, and so are hits of `xmc predict` and parts of runs
    in folders below. A file that is named twice is one shard.
    Raises: DataError when one names none or is no pattern, when a file is neither, and for a link to nothing;
    ArtifactError when a store refuses.
    """
    texts = _given(named)
    if not all(texts):
        raise DataError("a name of shards is empty.", hint="'.' is the folder of this process.")
    patterns = tuple(ShardPattern.of(text) for text in texts)
    found: dict[Location, ShardFile] = {}
    notes = []
    for pattern in patterns:
        left_out: Counter[str] = Counter()
        shards = _named_by(pattern, left_out)
        if left_out:
            notes.append(_left_out(pattern, left_out))
        if not shards:
            raise DataError(
                " ".join([_names_none(pattern), *notes[-1:]]),
                hint="Give a .parquet or .arrow file, a folder or a pattern.",
            )
        for shard in shards:
            found.setdefault(shard.location, shard)
    if not found:
        raise DataError("no shards were named.", hint="Give a .parquet or .arrow file, a folder or a pattern.")
    for shard in found.values():
        _require_table(shard)
    return ShardListing(
        tuple(sorted(found.values(), key=lambda shard: natural_key(shard.name))), patterns, tuple(notes)
    )


def _given(named: Any) -> list[str]:
    """The names as texts. Raises: DataError for what holds no names, a table say; ConfigError for what is no name."""
    if isinstance(named, str | os.PathLike):
        named = [named]
    if hasattr(named, "columns") or not isinstance(named, Iterable):  # a data frame would be taken for its column names
        raise DataError(
            f"shards are files by their paths or URLs, got {type(named).__name__}.",
            hint="Write a table into a file: df.to_parquet('queries.parquet'), with the columns query_id and text.",
        )
    return [given_place(name, name="each of the shards") for name in named]


def _require_table(shard: ShardFile) -> None:
    """Raises: DataError for a file that by its name can be no shard."""
    if not is_utf8(shard.location.path):
        raise DataError(f"{shard.location.path!a}: its name is not UTF-8.", hint="Rename it.")
    if "" in shard.name.split("/"):  # a key of a store, which pyarrow lists and cannot open
        raise DataError(f"{shard.location.shown}: a part of its name between two / is empty.", hint="Rename it.")
    if PurePosixPath(shard.name).suffix not in SUFFIXES:
        shown = shard.location.shown
        raise DataError(f"{shown}: a table ends in {' or '.join(SUFFIXES)}.", hint=hint_of_name(shown))


def _named_by(pattern: ShardPattern, left_out: Counter[str]) -> list[ShardFile]:
    """The shards of one pattern; `left_out` counts why others are none."""
    with store_errors(pattern.folder):
        if pattern.is_file:
            system, path = pattern.folder.opened()
            info = system.get_file_info(path)
            return [ShardFile(pattern.folder, info.base_name, info.size, info.mtime_ns or 0)]
        shards, folders = [], []
        entries = list(_listed(pattern))
        written = folders_written(entry.name for entry in entries)
        for entry in entries:
            if entry.kind != LOOP and not pattern.matches(entry.name):
                continue
            if entry.kind == FOLDER:
                folders.append(entry.name)
                continue
            reason = _why_left_out(pattern, entry, written)
            if not reason:
                shards.append(ShardFile(pattern.folder.child(entry.name), entry.name, entry.size, entry.modified_ns))
            elif reason != NO_TABLE:
                left_out[reason] += 1
    if passed_over := _passed_over(pattern, folders, [shard.name for shard in shards]):
        below = pattern.folder.child(f"{pattern.wild}/**").shown
        left_out[f"of the kind folder (what lies inside is named by {below})"] = passed_over
    return shards


def _passed_over(pattern: ShardPattern, folders: Sequence[str], shards: Sequence[str]) -> int:
    """How many of the folders that a pattern names hold none of the shards that it names."""
    if not pattern.wild:
        return 0
    within = {name.rpartition("/")[0] for name in shards}
    entered = within.union(str(folder) for name in within for folder in PurePosixPath(name).parents)
    return sum(not pattern.hides(folder) and folder not in entered for folder in folders)


def _why_left_out(pattern: ShardPattern, entry: Entry, written: Mapping[str, str]) -> str:
    """Empty for a shard. Raises: DataError for a link to nothing."""
    suffix = PurePosixPath(entry.name).suffix
    if pattern.hides(entry.name):
        return "whose path has a name that begins with _ or ." if suffix in SUFFIXES else NO_TABLE
    if what := why_written(entry.name, written):
        return what if suffix in SUFFIXES else NO_TABLE
    if entry.kind == DANGLING:
        raise DataError(
            f"{pattern.folder.child(entry.name).shown} is a link to nothing.",
            hint="Bring back what it links to, or remove the link.",
        )
    if entry.kind == LOOP:
        return "with a link to a folder above"
    if entry.kind == SPECIAL:
        return f"of the kind {NO_FILE}"
    if suffix in SUFFIXES or pattern.wild:
        return ""
    return f"with the ending {suffix}" if suffix else "without an ending"


def _names_none(pattern: ShardPattern) -> str:
    """What a name is that names no shard; of a store only that it is none."""
    shown, place = _shown(pattern), pattern.folder.local
    if pattern.wild or place is None or not os.path.lexists(place):
        return f"there is no table {shown}."
    if place.is_dir():
        return f"there is no table in the folder {shown}{'' if any(place.iterdir()) else ', which is empty'}."
    return f"{shown} is a {NO_FILE if place.exists() else 'link to nothing'}, and no table."


def _left_out(pattern: ShardPattern, reasons: Counter[str]) -> str:
    first = sorted(reasons.items(), key=lambda reason: (reason[0].startswith(OTHER_ENDINGS), -reason[1]))
    most = [f"{count:,} {reason}" for reason, count in first[:MOST_REASONS]]
    more = ["others"] if len(reasons) > MOST_REASONS else []
    return f"left out of {_shown(pattern)}: {'; '.join([*most, *more])}."


def _shown(pattern: ShardPattern) -> str:
    return pattern.folder.child(pattern.wild).shown if pattern.wild else pattern.folder.shown


def _listed(pattern: ShardPattern) -> Iterable[Entry]:
    from pyarrow.fs import FileSelector, FileType

    if pattern.folder.local is not None:
        return walk(pattern.folder.path, recursive=pattern.recursive)
    system, path = pattern.folder.opened()
    try:
        infos = system.get_file_info(FileSelector(path, recursive=pattern.recursive))
    except (FileNotFoundError, NotADirectoryError):
        return []
    prefix = path.rstrip("/") + "/"
    return [
        Entry(info.path.removeprefix(prefix), FILE, info.size, info.mtime_ns or 0)
        if info.type == FileType.File
        else Entry(info.path.removeprefix(prefix), FOLDER)
        for info in infos
    ]
