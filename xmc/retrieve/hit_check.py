"""What an index answers, checked before rows become labels: a row below 0 would be counted from the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        raise _wrong(index, f"{len(hits)} queries of {queries}")
    rows_H = hits.label_rows
    if len(rows_H) and not (rows_H.min() >= 0 and rows_H.max() < labels):
        row = int(rows_H.min() if rows_H.min() < 0 else rows_H.max())
        raise _wrong(
            index,
            f"label row {row}; there are 0 to {labels - 1}",
            "A query with fewer answers than k has a shorter list: leave out what was not found.",
        )


def _wrong(index: Index, what: str, hint: str = "") -> PluginError:
    return PluginError(f"index '{index.report.backend}' answers {what}.", hint=hint)
