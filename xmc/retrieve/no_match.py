"""Queries that match nothing: their best score is exactly 0, and their hits are the first labels by id.

So it is where an encoder knows no word of a text ("$", say, or another script) and embeds it to zero, and where word
counts have no word in common with any label.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from xmc.errors import XmcWarning

if TYPE_CHECKING:
    import numpy as np

    from xmc.check_contract import CheckRetriever
    from xmc.retrieve.retriever import Retriever
    from xmc.values import Hits

NO_MATCH = (  # one text, since Python shows and remembers each that it has not shown
    "a query matches no label: its best score is exactly 0, as where the encoder knows no word of it. Its hits are the "
    "first labels by id and mean nothing."
)


def can_be_told(retriever: Retriever | CheckRetriever) -> bool:
    """Whether a score is that of two embeddings alone; a second stage or a query map may add to that of a match."""
    return all(getattr(retriever, step, None) is None for step in ("reranking", "query_map"))


def no_match(retriever: Retriever | CheckRetriever, hits: Hits) -> np.ndarray[Any, Any]:
    """Which queries have a best hit with a score of 0, (Q,) bool; none where it cannot be told.

    A query without hits is none of them.
    """
    import numpy as np

    counts_Q = np.diff(hits.offsets)
    found_Q = np.zeros(len(counts_Q), dtype=bool)
    if can_be_told(retriever):
        answered = np.flatnonzero(counts_Q)
        found_Q[answered] = hits.scores[hits.offsets[answered]] == 0
    return found_Q


def warn_of_no_match(retriever: Retriever, hits: Hits) -> None:
    """Warn the caller's caller where a query matches nothing, unless the retriever was loaded to warn of nothing."""
    if (retriever.opened is None or retriever.opened.warn) and no_match(retriever, hits).any():
        warnings.warn(NO_MATCH, XmcWarning, stacklevel=3)
