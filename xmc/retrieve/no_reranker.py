"""The absence of a reranker, so that a configuration can name it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from xmc.rerankers import RerankQueries
    from xmc.values import Hits


@dataclass(frozen=True)
class NoReranker:
    """No reranker: hits are those of the index, unless `[fusion]` asks for a prior. It has no options."""

    def scores(self, queries: RerankQueries, hits: Hits) -> np.ndarray[Any, Any]:
        """0 for every hit, (H,) float32; the texts are not looked at."""
        return np.zeros(len(hits.label_rows), np.float32)

    def save(self, folder: Path) -> None:
        """There is nothing to write."""

    def load(self, folder: Path) -> NoReranker:
        """There is nothing to read."""
        return self
