"""Which recipe suits a data set better than the one that is taken when none is named."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from xmc.data.tables import QueryTable

MANY_WORDS, SEVERAL = 50, 2.0  # between what was measured: 508 words and 5.1 labels (EURLEX57K), 9 and 1.8 (WordNet)
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
    """`aggregate` for queries in bags, `linear.fused` for long ones with several labels.

    Else `dexml.passages` for long labels, `dexml.frequent` where labels are seen often; None for other data, which the
    default suits.

    >>> from xmc.values import Positives
    >>> two = Positives(np.array([0, 2]), np.array([0, 1]), np.ones(2))
    >>> print(recipe_advice(QueryTable(["q"], ["a long text " * 40], two), ["x", "y"]).reason)
    queries of 120 words with 2.0 labels each are better served by --plugin linear.fused (docs/recipes.md)
    >>> recipe_advice(QueryTable(["q"], ["a short text"], two), ["x", "y"]) is None
    True
    """
    label_rows = queries.positives.label_rows
    if queries.bag_ids is not None:
        return Advice("aggregate", "queries in bags")
    if not len(label_rows):
        return None
    words, labels = _words(queries.texts), len(label_rows) / len(queries)
    if words >= MANY_WORDS and labels >= SEVERAL:
        return Advice("linear.fused", f"queries of {words:.0f} words with {labels:.1f} labels each")
    if (words := _words(label_texts)) >= LONG_LABELS:
        return Advice("dexml.passages", f"labels of {words:.0f} words")
    counts_L = np.bincount(label_rows)
    often = counts_L[counts_L >= OFTEN].sum() / len(label_rows)
    if often >= MOST:
        share = f"{100 * often:.0f} % of all answers"
        return Advice("dexml.frequent", f"labels that have {OFTEN} training queries and more ({share})")
    return None


def _words(texts: Sequence[str]) -> float:
    """The median number of words."""
    return median(len(text.split()) for text in texts[:: max(1, len(texts) // _READ)])
