"""Train on some of a query's positives, drawn anew at each visit; the others do not take part for that visit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from xmc.api import ConfigError, Loss, Positives
from xmc.train.scorer import Pairs

CLAIM = "skips_labels"
STREAM = 3
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


def require_skips(loss: Loss) -> None:
    """Raise the ConfigError of a loss that cannot leave labels out."""
    if CLAIM not in getattr(loss, "claims", frozenset()):
        raise ConfigError(
            f"[train] sampled_positives leaves out positives of a query, and the loss {type(loss).__name__} does not "
            "say that it can do without labels.",
            hint="Set sampled_positives = 0, or choose a loss whose claims hold 'skips_labels', such as "
            "dexml.decoupled-softmax.",
        )


def draw_positives(positives: Positives, *, sample: int, generator: np.random.Generator) -> BoolArray:
    """Which of the P pairs to train on, (P,): `sample` of each query, all of one that has no more.

    One after the other is drawn without putting back, with a probability proportional to its relevance: smallest first
    of exponential times, each divided by its relevance.

    >>> positives = Positives(np.array([0, 3, 4]), np.array([4, 5, 6, 0]), np.array([1.0, 1.0, 2.0, 1.0]))
    >>> drawn_P = draw_positives(positives, sample=2, generator=np.random.default_rng(0))
    >>> int(drawn_P[:3].sum()), bool(drawn_P[3])
    (2, True)
    """
    times_P = generator.standard_exponential(len(positives.weights)) / positives.weights
    order_P = np.lexsort((times_P, positives.query_rows()))
    place_P = np.arange(len(order_P)) - np.repeat(positives.offsets[:-1], positives.counts())
    drawn_P = np.zeros(len(order_P), dtype=np.bool_)
    drawn_P[order_P[place_P < sample]] = True
    return drawn_P


def keep_drawn(pairs: Pairs, positives: Positives, drawn_P: BoolArray, *, sample: int) -> Pairs:
    """The pairs of all `positives` -> those drawn, the others skipped; as they are where all are drawn.

    The drawn of a query share its relevance evenly, for their own has gone into the drawing: with `sample` = 1, or
    where all are equally relevant, a sum over the drawn is then on average that over all.
    """
    if drawn_P.all():
        return pairs
    drawn = torch.from_numpy(drawn_P).to(pairs.rows_P.device)
    totals_Q = np.bincount(positives.query_rows(), weights=positives.weights, minlength=len(positives))
    even_Q = torch.from_numpy(totals_Q / sample).to(pairs.weights_P)
    whole_Q = torch.from_numpy(positives.counts() <= sample).to(drawn.device)
    rows_P = pairs.rows_P[drawn]
    weights_P = torch.where(whole_Q[rows_P], pairs.weights_P[drawn], even_Q[rows_P])
    left_out = pairs.rows_P[~drawn], pairs.columns_P[~drawn]
    return Pairs(rows_P, pairs.columns_P[drawn], weights_P, skipped=left_out, teacher=pairs.teacher)
