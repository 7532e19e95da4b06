"""The shards of a prediction, each with the name of its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xmc.data.shard_list import ShardFile, ShardListing, list_shards
from xmc.errors import ConfigError
from xmc.predict.ack import output_name
from xmc.store.location import Location


@dataclass(frozen=True)
class Inputs:
    """The shards by the names of their outputs, and what is to be said of what was left out."""

    shards: Mapping[str, ShardFile]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, named: str | Path | Sequence[str | Path], out: Location) -> Inputs:
        """The shards that are named.

        Raises: as `list_shards`; ConfigError when two outputs are one, one is an input, or would be at the next start.
        """
        listing = list_shards(named)
        paired: dict[str, ShardFile] = {}
        for shard in listing.shards:
            name = output_name(shard)
            if name in paired:
                raise ConfigError(
                    f"{paired[name].location.shown} and {shard.location.shown} would both write "
                    f"{out.child(name).shown}.",
                    hint="Name a folder or pattern above both, or predict them one by one, with an --out each.",
                )
            paired[name] = shard
        _require_apart(listing, paired, out)
        return cls(paired, listing.notes)


def _require_apart(listing: ShardListing, paired: Mapping[str, ShardFile], out: Location) -> None:
    """Raises: ConfigError when an output is an input, or is named by what names the inputs."""
    inputs = {shard.location.real.shown for shard in listing.shards}
    for name, shard in paired.items():
        place = out.child(name)
        if place.real.shown in inputs:
            raise ConfigError(
                f"the hits of {shard.location.shown} would overwrite queries in {out.shown}.",
                hint="Give another --out.",
            )
        if any(pattern.names(place) for pattern in listing.patterns):
            raise ConfigError(
                f"--out {out.shown} lies among the --shards: the next start would take its hits for queries.",
                hint="Give an --out outside, or one whose name begins with _, which a folder of shards leaves out.",
            )
