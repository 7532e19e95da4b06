"""Search that leaves some labels out, of any index: asks for more until every list is filled.

Shapes: Q queries, L labels of the index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xmc.api import FilteredIndex, Hits, PluginError, rank_hits
from xmc.encode.csr import take_rows
from xmc.ranking import first_hits
from xmc.retrieve.label_sets import keep_hits

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import Index

HITS_AT_ONCE = 4_000_000
SLACK = 8


def search_among(index: Index, queries_QE: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
    """The best k of these label rows (ascending, each once), min(k, rows) of them for every query.

    An index that cannot filter is asked for more and more hits, for all its labels in the end.
    Raises: PluginError when even that leaves a list short.
    """
    if len(label_rows) == 0:
        return no_hits(queries_QE.shape[0])
    if isinstance(index, FilteredIndex):
        return index.search_among(queries_QE, k, label_rows)
    kept_L = np.zeros(index.report.labels, dtype=bool)
    kept_L[label_rows] = True
    hits = search_kept(index, queries_QE, k, kept_L)
    wanted, least = min(k, len(label_rows)), int(np.diff(hits.offsets).min(initial=k))
    if least < wanted:
        raise PluginError(
            f"index '{index.report.backend}' cannot search among some labels (it has no search_among), and asked for "
            f"all its labels it named only {least} of the {wanted} that are wanted.",
            hint="Build the run's index with another backend, such as: --set index.name=exact",
        )
    return hits


def search_kept(index: Index, queries_QE: Tensor, k: int, kept_L: np.ndarray[Any, Any]) -> Hits:
    """The best k labels among those marked, for any index; with an exact one the true best.

    Naive: `index.search(queries, L)` without the labels that are not marked, cut at k. The k best of k + n hits are
    still there when n labels are left out, so no query asks for more than that. Where most labels are left out, an
    exact index that can filter is asked for the others alone: lists of nearly all labels would be long.
    """
    labels, kept = len(kept_L), int(np.count_nonzero(kept_L))
    if kept == labels:
        return index.search(queries_QE, k)
    if kept == 0:
        return no_hits(queries_QE.shape[0])
    if 2 * kept < labels and index.report.exact and isinstance(index, FilteredIndex):
        return index.search_among(queries_QE, k, np.flatnonzero(kept_L))
    most = min(labels, k + labels - kept)
    asked = min(most, k + SLACK + int(2 * k * (labels - kept) / kept))
    rows_Q = np.arange(queries_QE.shape[0])
    parts: list[tuple[np.ndarray[Any, Any], Hits]] = []
    while len(rows_Q):
        short: list[np.ndarray[Any, Any]] = []
        for rows in np.array_split(rows_Q, -(-len(rows_Q) * asked // HITS_AT_ONCE)):
            found = index.search(take_rows(queries_QE, torch.from_numpy(rows)), asked)
            found = first_hits(keep_hits(found, kept_L[found.label_rows]), k)
            done_Q = (np.diff(found.offsets) >= min(k, kept)) | (asked == most)
            done_H = np.repeat(done_Q, np.diff(found.offsets))
            query_rows_H = np.repeat(rows, np.diff(found.offsets))[done_H]
            parts.append((query_rows_H, keep_hits(found, done_H)))
            short.append(rows[~done_Q])
        rows_Q, asked = np.concatenate(short), min(most, 2 * asked)
    return _joined(parts, queries=queries_QE.shape[0], k=k)


def _joined(parts: list[tuple[np.ndarray[Any, Any], Hits]], *, queries: int, k: int) -> Hits:
    if not parts:
        return no_hits(queries)
    return rank_hits(
        np.concatenate([query_rows_H for query_rows_H, _ in parts]),
        np.concatenate([hits.label_rows for _, hits in parts]),
        np.concatenate([hits.scores for _, hits in parts]),
        queries=queries,
        k=k,
    )


def no_hits(queries: int) -> Hits:
    """No hit for any of so many queries.

    >>> no_hits(2).offsets.tolist()
    [0, 0, 0]
    """
    return Hits(np.zeros(queries + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
