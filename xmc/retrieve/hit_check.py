"""What an index answers, checked before rows become labels: a row below 0 would be counted from the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmc.counted import counted
from xmc.errors import PluginError
from xmc.values import Hits

if TYPE_CHECKING:
    from xmc.index_contract import Index


def require_hits(hits: Hits, index: Index, *, queries: int, labels: int) -> None:
    """Refuse an answer of an index that is no `Hits` of so many queries, or names a row that no label has.

    Raises: PluginError naming the backend and what it answered.
    """
    if not isinstance(hits, Hits):
        raise _wrong(index, f"a {type(hits).__name__}, wanted are Hits", "rank_hits of xmc.api makes them.")
    if len(hits) != queries:
        raise _wrong(index, f"{counted(len(hits), 'query')} of {queries:,}")
    rows_H = hits.label_rows
    if len(rows_H) and not (rows_H.min() >= 0 and rows_H.max() < labels):
        row = int(rows_H.min() if rows_H.min() < 0 else rows_H.max())
        raise _wrong(
            index,
            f"label row {row}; there are 0 to {labels - 1}",
            "A query with fewer answers than k has a shorter list: leave out what was not found.",
        )


def require_best_first(hits: Hits, index: Index, *, k: int) -> None:
    """Refuse lists of more than k labels, scores that are not finite, and a score above the one before it.

    Raises: PluginError naming the backend and what it answered.
    """
    import numpy as np

    counts_Q = np.diff(hits.offsets)
    if counts_Q.min(initial=0) < 0 or hits.offsets[0] != 0 or hits.offsets[-1] != len(hits.label_rows):
        raise _wrong(index, "lists whose offsets do not fit its hits", "rank_hits of xmc.api makes Hits.")
    if len(hits.scores) != len(hits.label_rows):
        raise _wrong(index, f"{counted(len(hits.scores), 'score')} for {counted(len(hits.label_rows), 'label')}")
    if counts_Q.max(initial=0) > k:
        raise _wrong(index, f"{counted(counts_Q.max(), 'label')} where k is {k}")
    if not np.isfinite(hits.scores).all():
        raise _wrong(index, "a score that is not finite", "Leave out what was not found.")
    rises_H = hits.scores[1:] > hits.scores[:-1]
    starts = hits.offsets[1:-1]
    rises_H[starts[(starts > 0) & (starts < len(hits.scores))] - 1] = False  # from one query to the next
    if rises_H.any():
        raise _wrong(
            index,
            "a list that is not in the order of its scores, the highest first",
            "rank_hits of xmc.api orders them; a distance is a score with its sign turned.",
        )


def _wrong(index: Index, what: str, hint: str = "") -> PluginError:
    return PluginError(f"index '{index.report.backend}' answers {what}.", hint=hint)
