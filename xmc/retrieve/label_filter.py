"""A set of labels that a search may answer with, looked up once and used for any number of queries.

Shapes: Q queries, H hits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import Hits
from xmc.counted import counted
from xmc.data.tables import LabelTable
from xmc.errors import ConfigError, DataError, UnknownLabelsError, first_few
from xmc.retrieve.label_sets import keep_hits
from xmc.retrieve.living_labels import find
from xmc.retrieve.query_checks import require_ids

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import Index


@dataclass(frozen=True, eq=False)
class LabelFilter:
    """The allowed label rows, ascending, of the label table they were looked up in; `unknown` ids were passed over.

    An empty filter allows nothing; it is false, as empty things are, so ask `is None`.
    """

    label_rows: np.ndarray[Any, Any]
    labels: LabelTable
    unknown: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.label_rows)

    def search(self, index: Index, queries_QE: Tensor, k: int) -> Hits:
        """The best k allowed labels of each query, min(k, allowed) of them. Raises: what the index raises."""
        from xmc.retrieve.kept_search import search_among

        return search_among(index, queries_QE, k, self.label_rows)

    def keep(self, hits: Hits, probabilities_H: Any = None) -> tuple[Hits, Any]:
        """The hits that are allowed, in their order, and their probabilities where there are such."""
        kept_H = np.isin(hits.label_rows, self.label_rows)
        return keep_hits(hits, kept_H), None if probabilities_H is None else probabilities_H[kept_H]


def make_filter(
    labels: LabelTable, label_ids: Iterable[str], *, ignore_unknown: bool = False, what: str = "allowed"
) -> LabelFilter:
    """Look up label ids in a table that is ordered by id; an id may be named twice, and `what` is the argument's name.

    Raises: UnknownLabelsError naming the first ids that are not there, unless they are to be ignored; DataError for no
    ids but a text.

    >>> make_filter(LabelTable(["a", "b", "c"], ["", "", ""]), ["c", "a"]).label_rows.tolist()
    [0, 2]
    """
    require_ids(label_ids, what=what)
    ids = list(label_ids)
    for label_id in ids:
        if not isinstance(label_id, str):
            raise DataError(f"{what} must be label ids, which are texts, got {label_id!r:.60}.")
    rows = np.array([find(labels, label_id) for label_id in ids], dtype=np.int64)
    unknown = tuple(dict.fromkeys(label_id for label_id, row in zip(ids, rows, strict=True) if row < 0))
    if unknown and not ignore_unknown:
        missing = counted(len(unknown), "of the allowed labels is", "of the allowed labels are")
        raise UnknownLabelsError(
            f"{missing} not there: {first_few(unknown)}.",
            hint="Leave them out, or pass over them with retriever.filter(ids, ignore_unknown=True).",
        )
    return LabelFilter(np.unique(rows[rows >= 0]), labels, unknown)


def as_filter(labels: LabelTable, allowed: Iterable[str] | LabelFilter | None) -> LabelFilter | None:
    """What a caller gave, as a filter of these labels; None for no filter.

    Raises: ConfigError for a filter of another label set; DataError for unknown ids.
    """
    if allowed is None:
        return None
    if not isinstance(allowed, LabelFilter):
        return make_filter(labels, allowed)
    if allowed.labels is not labels:
        raise ConfigError(
            "this filter was made by another retriever, whose labels may be others.",
            hint="Make it again: retriever.filter(label_ids)",
        )
    return allowed
