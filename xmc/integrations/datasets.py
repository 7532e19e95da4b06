"""Queries with several positives as a `datasets.Dataset` that a sentence-transformers trainer takes as it is.

Label rows are positions in one list of label texts. `xmc.integrations.batch_labels` says how `label` is laid out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xmc.api import Positives
from xmc.counted import counted
from xmc.errors import DataError
from xmc.integrations.batch_labels import PADDING
from xmc.integrations.extras import from_extra
from xmc.ragged import offsets_of

Rows = np.ndarray[Any, Any]


def query_dataset(queries: Sequence[str], positives: Positives | Sequence[Sequence[int]]) -> Any:
    """One row for each query: `query` (text) and `label` (all its positives); the loss holds the label texts.

    `positives` are label rows for each query. A query without positives is left out.
    Raises: DataError for lengths that differ, a label row that is none, or weights other than 1; ConfigError when
    `datasets` is not installed.

    >>> query_dataset(["sore throat", "broken arm and leg"], [[3], [0, 8]])[:]
    {'query': ['sore throat', 'broken arm and leg'], 'label': [[3, -1], [0, 8]]}
    """
    ragged = _ragged(positives, queries=len(queries))
    kept = np.flatnonzero(ragged.counts() > 0)
    return _dataset({"query": _texts(queries, kept)}, _padded(ragged)[kept])


def pair_dataset(
    queries: Sequence[str],
    positives: Positives | Sequence[Sequence[int]],
    label_texts: Sequence[str],
    *,
    negatives: Sequence[Sequence[int]] | None = None,
) -> Any:
    """One row for each (query, positive): `query`, `positive` (texts) and `label`, which names all its positives.

    `negatives` adds hard negatives, label rows, equally many for each query: columns `negative_1`, `negative_2`, ...
    Raises: as `query_dataset`; DataError also for a label row that `label_texts` does not have.

    >>> pair_dataset(["broken arm and leg"], [[0, 2]], ["arm", "throat", "leg"])[:]["positive"]
    ['arm', 'leg']
    """
    ragged = _ragged(positives, queries=len(queries), label_count=len(label_texts))
    query_rows = ragged.query_rows()
    texts = {"query": _texts(queries, query_rows), "positive": _texts(label_texts, ragged.label_rows)}
    named = [ragged.label_rows[:, None]]
    if negatives is not None:
        negatives_QH = _negatives(negatives, queries=len(queries), label_count=len(label_texts))
        named.append(negatives_QH[query_rows])
        for column in range(negatives_QH.shape[1]):
            texts[f"negative_{column + 1}"] = _texts(label_texts, negatives_QH[query_rows, column])
    return _dataset(texts, np.concatenate([*named, _padded(ragged)[query_rows]], axis=1))


def _ragged(
    positives: Positives | Sequence[Sequence[int]], *, queries: int, label_count: int | None = None
) -> Positives:
    if not isinstance(positives, Positives):
        counts = _lengths(positives, "positives")
        flat = _whole([row for rows in positives for row in rows], "positives")
        positives = Positives(offsets_of(counts), flat, np.ones(len(flat), dtype=np.float32))
    if len(positives) != queries:
        raise DataError(
            f"there are {counted(queries, 'query')} and "
            f"{counted(len(positives), 'list of positives', 'lists of positives')}, they must agree."
        )
    if len(positives.label_rows) == 0:
        raise DataError("no query has a positive, so there is nothing to train on.")
    if not np.all(positives.weights == 1):
        raise DataError(
            "positives with weights other than 1 do not fit into the column 'label'.",
            hint="Drop them with dataclasses.replace(positives, weights=np.ones_like(positives.weights)).",
        )
    _require_rows(positives.label_rows, "positives", label_count)
    return positives


def _negatives(negatives: Sequence[Sequence[int]], *, queries: int, label_count: int) -> Rows:
    counts = set(_lengths(negatives, "negatives"))
    if len(negatives) != queries or len(counts) != 1:
        raise DataError(
            f"negatives must be {counted(queries, 'list of one length', 'lists of one length')}, got "
            f"{counted(len(negatives), 'list with lengths', 'lists with lengths')} "
            f"{sorted(counts)[:5]}."
        )
    rows = _whole([row for rows in negatives for row in rows], "negatives")
    _require_rows(rows, "negatives", label_count)
    return rows.reshape(queries, -1)


def _lengths(lists: Sequence[Sequence[int]], what: str) -> list[int]:
    for rows in lists:
        if isinstance(rows, str) or not hasattr(rows, "__len__"):
            raise DataError(f"{what} must be a list of label rows for each query, got {rows!r:.60} for one.")
    return [len(rows) for rows in lists]


def _whole(label_rows: list[int], what: str) -> Rows:
    rows = np.array(label_rows, dtype=None if label_rows else np.int64)
    if rows.dtype.kind not in "iu":
        wrong = next(row for row in label_rows if np.array(row).dtype.kind not in "iu")
        raise DataError(
            f"{what} hold {wrong!r:.60}, and the rows of labels are whole numbers.",
            hint="The row of a label is its place among the label texts, counted from 0, and not its id.",
        )
    return rows.astype(np.int64)


def _require_rows(label_rows: Rows, what: str, label_count: int | None) -> None:
    limit = np.iinfo(np.int32).max if label_count is None else label_count
    bad = label_rows[(label_rows < 0) | (label_rows >= limit)]
    if len(bad):
        raise DataError(
            f"{what} hold the label row {bad[0]} ({len(bad):,} such in all), label rows are 0..{limit - 1}."
        )


def _padded(positives: Positives) -> Rows:
    """The positives of each query as a matrix, -1 behind the last."""
    counts = positives.counts()
    padded_QN = np.full((len(positives), counts.max()), PADDING, dtype=np.int32)
    query_rows = positives.query_rows()
    places = np.arange(len(query_rows)) - positives.offsets[:-1][query_rows]
    padded_QN[query_rows, places] = positives.label_rows
    return padded_QN


def _texts(texts: Sequence[str], rows: Rows) -> Any:
    import pyarrow as pa

    return pa.array(texts, type=pa.large_string()).take(pa.array(rows))


def _dataset(texts: dict[str, Any], label: Rows) -> Any:
    import pyarrow as pa

    with from_extra("train", package="datasets"):
        from datasets import Dataset
    column = pa.FixedSizeListArray.from_arrays(pa.array(label.astype(np.int32).ravel()), label.shape[1])
    return Dataset(pa.table({**texts, "label": column}))
