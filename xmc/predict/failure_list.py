"""The shards that could not be answered when they were named last: a file in the output folder with a line for each."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from xmc.store.location import Location
from xmc.store.location_writer import delete_at, write_text_at

FAILURES = "_failures.jsonl"


@dataclass(frozen=True)
class FailureList:
    """The list of an output folder. Only who holds its lock may change it."""

    out: Location

    @property
    def place(self) -> Location:
        """Where the list is, if any shard is on it."""
        return self.out.child(FAILURES)

    def record(self, failures: Iterable[Mapping[str, str]], *, named: Container[str]) -> None:
        """Put these on it in place of all that are `named` now; those of earlier calls that are not stay."""
        earlier = [failure for failure in self._read() if failure.get("name") not in named]
        lines = sorted(json.dumps(failure, sort_keys=True, ensure_ascii=False) for failure in (*earlier, *failures))
        if lines:
            write_text_at(self.place, "".join(line + "\n" for line in lines))
        else:
            self.clear()

    def clear(self) -> None:
        """Take all off it."""
        delete_at(self.place)

    def _read(self) -> list[dict[str, str]]:
        """What it says; a line that cannot be read counts as none."""
        found = []
        for line in (self.place.read_bytes() or b"").splitlines():
            with contextlib.suppress(ValueError, TypeError):
                found.append(dict(json.loads(line)))
        return found
