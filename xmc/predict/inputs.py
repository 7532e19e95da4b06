"""The shards of a prediction, each with the name of its output."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from xmc.data.shard_list import ShardFile, ShardListing, list_shards
from xmc.errors import ConfigError
from xmc.predict.ack import output_name
from xmc.store.atomic import temporary_name
from xmc.store.location import Location

LONGEST_FOLDER = 255  # bytes, of a disk; stores have longer ones
LONGEST_NAME = LONGEST_FOLDER - len(temporary_name(".json"))  # for an acknowledgement on its way to the disk


@dataclass(frozen=True)
class Inputs:
    """The shards by the names of their outputs, and what is to be said of what was left out."""

    shards: Mapping[str, ShardFile]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, named: str | Path | Sequence[str | Path], out: Location) -> Inputs:
        """The shards that are named.

        Raises: as `list_shards`; ConfigError when two shards would write the same output, when an output is one of the
        inputs or would be taken for one at the next start, and when its name is too long or is needed for a folder.
        """
        listing = list_shards(named)
        paired: dict[str, ShardFile] = {}
        for shard in listing.shards:
            name = output_name(shard)
            if name in paired:
                other = paired[name].location.shown
                beside = PurePosixPath(other).parent == PurePosixPath(shard.location.shown).parent  # a.arrow, a.parquet
                apart = "Rename one of them" if beside else "Name a folder or pattern above both"
                raise ConfigError(
                    f"{other} and {shard.location.shown} would both write {out.child(name).shown}.",
                    hint=f"{apart}, or predict them one by one, with an --out each.",
                )
            paired[name] = shard
        if out.local is not None:
            _require_places(paired, out)
        _require_apart(listing, paired, out)
        return cls(paired, listing.notes)


def _require_places(paired: Mapping[str, ShardFile], out: Location) -> None:
    """Raises: ConfigError for an output that no disk can hold by its name, or that would be a folder of another one."""
    folders: dict[str, ShardFile] = {}
    for name, shard in paired.items():
        folder, _, own = name.rpartition("/")
        folders.setdefault(folder, shard)
        size = len(os.fsencode(own))
        if size > LONGEST_NAME:
            raise ConfigError(
                f"{shard.location.shown}: its name is too long: that of its hits would have {size} bytes, and at most "
                f"{LONGEST_NAME} leave room for that of their acknowledgement.",
                hint="Rename it.",
            )
    for folder, shard in folders.items():
        _require_folder(PurePosixPath(folder), shard, paired, out)


def _require_folder(folder: PurePosixPath, of: ShardFile, paired: Mapping[str, ShardFile], out: Location) -> None:
    if too_long := [part for part in folder.parts if len(os.fsencode(part)) > LONGEST_FOLDER]:
        raise ConfigError(
            f"{of.location.shown}: the name of its folder {too_long[0][:40]}… is too long for one in "
            f"{out.shown}: at most {LONGEST_FOLDER} bytes.",
            hint="Name the shards by a pattern below that folder, or give an --out in a store.",
        )
    for name in map(str, (folder, *folder.parents)):
        if name in paired:
            raise ConfigError(
                f"{paired[name].location.shown} would write {out.child(name).shown}, which is to be the folder "
                f"of the hits of {of.location.shown}.",
                hint="Rename one of them, or predict them one by one, with an --out each.",
            )


def _require_apart(listing: ShardListing, paired: Mapping[str, ShardFile], out: Location) -> None:
    """Raises: ConfigError when an output is an input, or is named by what names the inputs."""
    real_of = _real_places()
    inputs = {real_of(shard.location).shown for shard in listing.shards}
    patterns = [pattern for pattern in listing.patterns if not pattern.is_file]  # a file is one of the inputs
    for name, shard in paired.items():
        place = out.child(name)
        real = real_of(place)
        if real.shown in inputs:
            raise ConfigError(
                f"the hits of {shard.location.shown} would overwrite queries in {out.shown}.",
                hint="Give another --out.",
            )
        if any(pattern.names(place, real=real) for pattern in patterns):
            raise ConfigError(
                f"--out {out.shown} lies among the --shards: who reads these would take its hits for queries.",
                hint="Give an --out outside, or one whose name begins with _, which a folder of shards leaves out.",
            )


def _real_places() -> Callable[[Location], Location]:
    """`Location.real` of one place after the other, of which many share a folder: that is asked for once."""
    real_folder = functools.cache(os.path.realpath)

    def real(place: Location) -> Location:
        folder, name = os.path.split(place.path)
        if place.root or os.path.islink(place.path):  # noqa: PTH114 - a hundred thousand times
            return place.real
        return Location("", os.path.join(real_folder(folder), name))  # noqa: PTH118

    return real
