"""What an edit of a run's labels comes to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LabelsReport:
    """The label set of a run: `base` labels in the index, `added` beside it, `removed` (or replaced) from it.

    `changed` labels were changed by this edit; `hint` says what to do when there is something to do; `notes` are what
    else is to be known of the edit.
    """

    labels: int
    base: int
    added: int
    removed: int
    hint: str = ""
    changed: int = 0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
