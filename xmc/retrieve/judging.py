"""How probable hits are, by what `xmc check calibrate` fitted to whole lists: of whole lists, and of those of a filter.

Hits of a query that matches nothing (`xmc.retrieve.no_match`) mean nothing: they have the probability 0.

Shapes: H hits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xmc.api import Hits
from xmc.retrieve.label_sets import keep_hits
from xmc.retrieve.no_match import can_be_told, no_match
from xmc.retrieve.query_checks import check_probability

if TYPE_CHECKING:
    from xmc.retrieve.calibration import Calibration
    from xmc.retrieve.label_filter import LabelFilter
    from xmc.retrieve.retriever import Retriever


def judge(
    retriever: Retriever, hits: Hits, min_probability: float | None = None, first: Hits | None = None
) -> tuple[Hits, Any]:
    """See `Retriever.judged_hits`; where hits are parts of whole lists, `first` are the first ones of these."""
    min_probability = check_probability(min_probability)
    fitted = retriever.fitted
    calibration = fitted.calibration if min_probability is None else fitted.require_calibration()
    if calibration is None:
        return hits, None
    if first is None:
        probabilities_H = calibration.probabilities(hits)
    else:
        probabilities_H = calibration.probabilities_of_parts(hits, first)
    probabilities_H[no_match(retriever, hits if first is None else first)[hits.query_rows()]] = 0.0
    if min_probability is None:
        return hits, probabilities_H
    kept_H = probabilities_H >= min_probability
    return keep_hits(hits, kept_H), probabilities_H[kept_H]


def search_and_judge(
    retriever: Retriever,
    search: Callable[..., Hits],
    *,
    k: int,
    min_probability: float | None = None,
    label_filter: LabelFilter | None = None,
) -> tuple[Hits, Any]:
    """See `Retriever.judged_by`.

    A calibration is fitted to whole lists, and a filter lets labels rise: by its rank among the allowed a hit would
    seem more probable than it is, and so it would without the better ones above it that are said to be less probable.
    So the whole lists are searched as well, as deep as the calibration tells ranks apart, where that can matter.
    """
    hits, first = search(k=k, allowed=label_filter), None
    calibration = retriever.fitted.calibration
    if label_filter is not None and calibration and _whole_lists_matter(retriever, hits, calibration):
        first = search(k=max(1, calibration.first_ranks[-1] - 1), allowed=None)
    return judge(retriever, hits, min_probability, first)


def _whole_lists_matter(retriever: Retriever, hits: Hits, calibration: Calibration) -> bool:
    """Whether ranks do, or a query may match nothing at all: not where an allowed label scores above 0."""
    best = hits.scores[hits.offsets[:-1][hits.offsets[:-1] < hits.offsets[1:]]]
    return calibration.first_ranks[-1] > 1 or (can_be_told(retriever) and bool((best <= 0).any()))
