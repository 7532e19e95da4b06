"""One run that a service answers for: opened, described, and logged when its state changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from xmc.engine.labels_report import LabelsReport
from xmc.engine.passage_editing import PassageEditor
from xmc.retrieve.passages_now import PassagesNow
from xmc.retrieve.retriever import Retriever
from xmc.serve.batcher import Batcher

logger = logging.getLogger("xmc.serve")


class LabelsChange(NamedTuple):
    """What is to be done to labels: `add`, `put`, `replace` texts by id, or `remove` ids."""

    action: str
    argument: Any
    metadata: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(eq=False)
class ServedRun:
    """One run: `now` is its newest committed state that could be opened, `reload_error` why a newer could not.

    `has_kept` says whether that state has what is kept beside passages, which is so once it has been asked for.
    `opened_s` is when the service opened it, in seconds since 1970; `reloading` is held while it is opened again,
    `reading` while what is kept is read for the first time.
    """

    name: str
    now: PassagesNow
    editor: PassageEditor
    batcher: Batcher = field(init=False)
    has_kept: bool = False
    reload_error: str = ""
    opened_s: int = field(default_factory=lambda: int(time.time()))
    reloading: asyncio.Lock = field(default_factory=asyncio.Lock)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def retriever(self) -> Retriever:
        """What is searched."""
        found: Retriever = self.now.searcher
        return found

    def newest(self) -> PassagesNow:
        """The newest committed state. Raises: as `PassagesNow.newest`."""
        return self.now.newest(self.editor.records if self.has_kept else None)

    def with_kept(self) -> PassagesNow:
        """The newest state with what is kept beside passages. Raises: ArtifactError when either is damaged."""
        return self.now.newest(self.editor.records)

    def edit(self, change: LabelsChange) -> LabelsReport:
        """Make a change of labels. Raises: as `LabelEditor` and `PassageEditor`."""
        if change.action == "remove":
            return self.editor.remove(change.argument)
        return self.editor.edit(change.action, change.argument, change.metadata)

    def count_labels(self) -> int:
        """Labels that are searched."""
        return len(self.retriever.labels)

    def is_stale(self) -> bool:
        """Whether a newer state is there and could not be opened."""
        return bool(self.reload_error)

    def log_state(self) -> None:
        """Log what is searched from here on."""
        logger.info(
            "run %s: generation %s, %s labels", self.name, self.retriever.generation, f"{self.count_labels():,}"
        )

    def log_remarks(self, before: Retriever | None = None) -> None:
        """Log what is to be known of the probabilities, once: nothing that held of the state `before` already."""
        known = before.fitted.remarks() if before else []
        for remark in self.retriever.fitted.remarks():
            if remark not in known:
                logger.warning("run %s: %s", self.name, remark)

    def describe(self) -> dict[str, Any]:
        """Sizes and abilities, as `RunAnswer`."""
        report, fitted = self.retriever.report, self.retriever.fitted
        return {
            "name": self.name,
            "generation": self.retriever.generation,
            "labels": self.count_labels(),
            "dimension": self.retriever.encoder.dimension,
            "backend": report.backend,
            "exact": report.exact,
            "similarity": report.similarity,
            "calibrated": fitted.calibration is not None,
            "label_sets": fitted.label_sets is not None,
            "largest_set": fitted.label_sets.most_labels if fitted.label_sets else None,
            "calibration": fitted.basis.to_dict() if fitted.basis else None,
            "notes": fitted.remarks(),
            "reranked": self.retriever.reranking is not None,
            "reload_error": self.reload_error,
        }


def open_runs(folders: Mapping[str, Path], *, device: str = "auto") -> dict[str, ServedRun]:
    """Open runs by name. Raises: as `Retriever.load`."""
    runs = {}
    for name, folder in folders.items():
        retriever = Retriever.load(folder, device=device, warn=False)
        runs[name] = ServedRun(name, PassagesNow(retriever), PassageEditor(folder))
        runs[name].log_state()
        runs[name].log_remarks()
    return runs
