"""Which labels a second stage is fitted to: all, or those with enough training queries to be learnt by themselves.

Shapes: L labels of the index, H hits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xmc.counted import counted
from xmc.data.tables import LabelTable
from xmc.engine.removed_labels import kept_positives
from xmc.errors import ConfigError
from xmc.retrieve.label_filter import LabelFilter
from xmc.values import Hits, Positives


@dataclass(frozen=True, eq=False)
class RerankedLabels:
    """The labels that a second stage knows; `rows_L` has for each label of the index its row among them, or -1.

    Where it knows all of them `rows_L` and `allowed` are None, and the rows are those of the index.
    """

    table: LabelTable
    rows_L: np.ndarray[Any, Any] | None = None
    allowed: LabelFilter | None = None

    @classmethod
    def of(cls, labels: LabelTable, truth: Positives, *, least_queries: int) -> RerankedLabels:
        """The labels with at least so many training queries, of which `truth` are the positives.

        Raises: ConfigError when no label has so many.
        """
        if least_queries == 0:
            return cls(labels)
        counts_L = np.bincount(truth.label_rows, minlength=len(labels))
        known_L = counts_L >= least_queries
        if not known_L.any():
            raise ConfigError(
                f"no label has [fusion] least_queries = {counted(least_queries, 'training query')} or "
                "more; the one with most "
                f"has {counts_L.max(initial=0):,}.",
                hint="Set a smaller one, or train without a second stage: --set reranker.name=none",
            )
        known = np.flatnonzero(known_L)
        return cls(labels.take(known), np.where(known_L, np.cumsum(known_L) - 1, -1), LabelFilter(known, labels))

    def positives(self, truth: Positives) -> Positives:
        """The positives among them, by their rows."""
        return truth if self.rows_L is None else kept_positives(truth, self.rows_L >= 0)

    def hits(self, hits: Hits) -> Hits:
        """Hits that are all among them, by their rows."""
        return hits if self.rows_L is None else replace(hits, label_rows=self.rows_L[hits.label_rows])
