"""The acknowledgement of a finished shard: what its hits were made from, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from xmc.data.shard_list import ShardFile


@dataclass(frozen=True)
class Ack:
    """A finished shard: the name of its output, what it was made from and what it holds.

    `location` is where the input lay; empty in the acknowledgements of versions that did not keep it.
    """

    name: str
    input: str
    input_size: int
    input_modified_ns: int
    fingerprint: str
    rows: int
    statuses: Mapping[str, int]
    size: int
    sha256: str
    location: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**vars(self), "statuses": dict(self.statuses)}

    def has_state_of(self, shard: ShardFile) -> bool:
        """Whether the shard has size and time of the one that was answered."""
        return shard.is_in_state(self.input_size, self.input_modified_ns)

    def lay_where(self, shard: ShardFile) -> bool:
        """Whether the one that was answered lay where the shard lies, as far as that is known."""
        return self.location in ("", shard.location.shown)


def output_name(shard: ShardFile) -> str:
    """The name of a shard's output, in the output folder: its own, as Parquet.

    >>> from xmc.store.location import Location
    >>> output_name(ShardFile(Location("", "/in/2026/part-3.arrow"), "2026/part-3.arrow", 10, 0))
    '2026/part-3.parquet'
    """
    return str(PurePosixPath(shard.name).with_suffix(".parquet"))
