"""Where a check keeps what it has fitted: versions in the run, each with the labels that it was fitted to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmc.retrieve.basis import LABEL_COUNT, save_basis
from xmc.retrieve.layout import fitted_store
from xmc.retrieve.retriever import Retriever


@dataclass(frozen=True)
class FittedFolder:
    """The `new_version` of a check's context."""

    run: Path
    retriever: Retriever
    check: str = "unnamed"

    @contextlib.contextmanager
    def __call__(self, kind: str, /, *, facts: dict[str, Any] | None = None) -> Iterator[Path]:
        """An empty folder to fill, committed when the block ends well; what becomes of the labels is known from it."""
        facts = {} if facts is None else facts
        facts[LABEL_COUNT] = len(self.retriever.labels)
        with fitted_store(self.run, self.check, kind).new_version(facts=facts, keep=2) as folder:
            if self.retriever.opened:
                save_basis(folder, self.retriever.opened.edits)
            yield folder
