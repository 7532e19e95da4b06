"""Which recipe suits a data set better than the one that is taken when none is named."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from xmc.data.tables import QueryTable

MANY_WORDS = 50  # between what was measured: 508 (EURLEX57K), 9 (WordNet)
MOST_UNSEEN = 1 / 8  # between what was measured: 0.07 and 0.18 (parts of EURLEX57K, decision 0038)
LONG_LABELS = 50  # words, between what was measured: 204 in the median (SciFact), 6 (ICD-10-CM)
OFTEN, MOST = 10, 1 / 3  # between what was measured: 0.56 of the answers (GeoNames), 0.05 (WordNet)
_READ = 1_000  # texts


class Advice(NamedTuple):
    """A recipe, and in words what it suits."""

    recipe: str
    suits: str

    @property
    def reason(self) -> str:
        """The sentence that recommends it in place of the one that is taken when none is named."""
        return f"{self.suits} are better served by --plugin {self.recipe} (docs/recipes.md)"


def recipe_advice(queries: QueryTable, label_texts: Sequence[str]) -> Advice | None:
    """`aggregate` for queries in bags, `linear.fused` for long ones with labels that training shows.

    Else `dexml.passages` for long labels, `dexml.frequent` where labels are seen often; None for other data, which the
    default suits. What share of new answers will be labels never trained on is estimated by Good and Turing: the share
    of labels with one query among all answers.

    >>> from xmc.values import Positives
    >>> two = Positives(np.array([0, 1, 2]), np.array([0, 0]), np.ones(2))
    >>> print(recipe_advice(QueryTable(["p", "q"], ["a long text " * 40] * 2, two), ["x", "y"]).reason)
    queries of 120 words are better served by --plugin linear.fused (docs/recipes.md)
    >>> recipe_advice(QueryTable(["p", "q"], ["a short text"] * 2, two), ["x", "y"]) is None
    True
    """
    label_rows = queries.positives.label_rows
    if queries.bag_ids is not None:
        return Advice("aggregate", "queries in bags")
    if not len(label_rows):
        return None
    counts_L = np.bincount(label_rows)
    unseen, often = np.sum(counts_L == 1) / len(label_rows), counts_L[counts_L >= OFTEN].sum() / len(label_rows)
    if (words := _words(queries.texts)) >= MANY_WORDS and unseen <= MOST_UNSEEN:
        return Advice("linear.fused", f"queries of {words:.0f} words")
    if (words := _words(label_texts)) >= LONG_LABELS:
        return Advice("dexml.passages", f"labels of {words:.0f} words")
    if often >= MOST:
        share = f"{100 * often:.0f} % of all answers"
        return Advice("dexml.frequent", f"labels that have {OFTEN} training queries and more ({share})")
    return None


def _words(texts: Sequence[str]) -> float:
    """The median number of words."""
    return median(len(text.split()) for text in texts[:: max(1, len(texts) // _READ)])
