"""Merge the answers of several indexes over disjoint labels into one: the answer of an index over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xmc.errors import DataError
from xmc.ranking import rank_hits
from xmc.vectors import validate_k

if TYPE_CHECKING:
    from xmc.values import Hits


def merge_hits(parts: Sequence[Hits], k: int) -> Hits:
    """The best k of each query over all parts, whose label rows are global and disjoint.

    With exact parts: `merge_hits([search(shard) for shard in shards], k)` equals `search(all labels)`.
    Raises: DataError when there is no part or the parts answer different numbers of queries; ConfigError for k < 1.

    >>> import numpy as np
    >>> from xmc.values import Hits
    >>> left = Hits(np.array([0, 2]), np.array([0, 1]), np.array([0.9, 0.1], dtype=np.float32))
    >>> right = Hits(np.array([0, 1]), np.array([2]), np.array([0.9], dtype=np.float32))
    >>> merge_hits([right, left], 2).label_rows.tolist()
    [0, 2]
    """
    import numpy as np

    k = validate_k(k)
    if not parts:
        raise DataError("there are no hits to merge.")
    queries = len(parts[0])
    if any(len(part) != queries for part in parts):
        raise DataError(f"hits to merge answer different numbers of queries: {[len(part) for part in parts]}.")
    return rank_hits(
        np.concatenate([part.query_rows() for part in parts]),
        np.concatenate([part.label_rows for part in parts]),
        np.concatenate([part.scores for part in parts]),
        queries=queries,
        k=k,
    )
