"""How probable hits are, by what `xmc check calibrate` fitted to whole lists: of whole lists, and of those of a filter.

Shapes: H hits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xmc.api import Hits
from xmc.retrieve.label_sets import keep_hits
from xmc.retrieve.query_checks import check_probability

if TYPE_CHECKING:
    from xmc.retrieve.calibration import Calibration
    from xmc.retrieve.fitted import Fitted
    from xmc.retrieve.label_filter import LabelFilter


def judge(
    fitted: Fitted, hits: Hits, min_probability: float | None = None, probabilities_H: Any = None
) -> tuple[Hits, Any]:
    """See `Retriever.judged_hits`; `probabilities_H` are those of hits that are not whole lists."""
    min_probability = check_probability(min_probability)
    calibration = fitted.calibration if min_probability is None else fitted.require_calibration()
    if calibration is None:
        return hits, None
    probabilities_H = calibration.probabilities(hits) if probabilities_H is None else probabilities_H
    if min_probability is None:
        return hits, probabilities_H
    kept_H = probabilities_H >= min_probability
    return keep_hits(hits, kept_H), probabilities_H[kept_H]


def search_and_judge(
    fitted: Fitted,
    search: Callable[..., Hits],
    *,
    k: int,
    min_probability: float | None = None,
    label_filter: LabelFilter | None = None,
) -> tuple[Hits, Any]:
    """See `Retriever.judged_by`."""
    hits, probabilities_H = search(k=k, allowed=label_filter), None
    if label_filter is not None and fitted.calibration is not None:
        probabilities_H = _among_all(fitted.calibration, hits, lambda first: search(k=first, allowed=None))
    return judge(fitted, hits, min_probability, probabilities_H)


def _among_all(calibration: Calibration, hits: Hits, unfiltered: Callable[[int], Hits]) -> Any:
    """The probability that each filtered hit has in the unfiltered list, (H,).

    `unfiltered(k)` searches for the same queries without the filter, as deep as a calibration tells ranks apart.

    A calibration is fitted to whole lists, and a filter lets labels rise: by its rank among the allowed a hit would
    seem more probable than it is, and so it would without the better ones above it that are said to be less probable.
    """
    last = calibration.first_ranks[-1]
    if last == 1:
        return calibration.probabilities(hits)
    return calibration.probabilities_of_parts(hits, unfiltered(last - 1))
