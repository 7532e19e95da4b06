"""What an edit of a run's labels comes to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LabelsReport:
    """The label set of a run: `base` labels in the index, `added` beside it, `removed` (or replaced) from it.

    `changed` labels were added, removed, or given another text or vector by this edit, and beside `changed_metadata`
    labels that are there now it keeps something else than before. `hint` says what to do when there is something to do;
    `notes` are what else is to be known of the edit.
    """

    labels: int
    base: int
    added: int
    removed: int
    hint: str = ""
    changed: int = 0
    notes: tuple[str, ...] = ()
    changed_metadata: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
