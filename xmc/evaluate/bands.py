"""Head, torso, tail and zero-shot labels: the same metrics for labels of about the same training frequency."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.evaluate.relevance import JudgedHits
from xmc.ragged import kept_offsets
from xmc.values import Hits, Positives

BANDS = ("zero-shot", "tail", "torso", "head")  # position = band number of `label_bands`


def label_bands(train_counts_L: NDArray[Any], *, head_min: int, torso_min: int) -> NDArray[np.int64]:
    """The band number of each label, an index into `BANDS`, by how many training queries the label has.

    zero-shot: 0; tail: 1 to torso_min - 1; torso: torso_min to head_min - 1; head: head_min and more.

    Shapes: (L,) in and out.

    >>> [BANDS[band] for band in label_bands(np.array([0, 1, 10, 50]), head_min=50, torso_min=10)]
    ['zero-shot', 'tail', 'torso', 'head']
    """
    return np.searchsorted(np.array([1, torso_min, head_min]), train_counts_L, side="right")


def restrict_to_labels(judged: JudgedHits, in_band_L: NDArray[np.bool_]) -> JudgedHits:
    """Judge by the positives of one band only.

    A positive outside the band is taken out of the truth and, where it was found, out of the ranking as well: it is
    neither right nor wrong, and the hits after it move up. A hit that is no positive stays and is wrong, whichever
    band its label is in. So P@k of a band is not lowered by right answers of other bands, and the relevant hits of all
    bands add up to those of the whole.

    Rankings are not refilled: with K hits in hand, a query that lost some has fewer than K left.
    """
    hits, positives = judged.hits, judged.positives
    stays_H = (judged.relevance_H == 0) | in_band_L[hits.label_rows]
    stays_P = in_band_L[positives.label_rows]
    return JudgedHits(
        Hits(kept_offsets(hits.offsets, stays_H), hits.label_rows[stays_H], hits.scores[stays_H]),
        Positives(kept_offsets(positives.offsets, stays_P), positives.label_rows[stays_P], positives.weights[stays_P]),
        judged.relevance_H[stays_H],
    )
