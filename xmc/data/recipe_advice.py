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
    """A recipe and the sentence that says why."""

    recipe: str
    reason: str


def recipe_advice(queries: QueryTable, label_texts: Sequence[str]) -> Advice | None:
    """`linear.fused` for long queries with several labels each, `dexml.passages` for long labels.

    Else `dexml.frequent` where labels are seen often.

    >>> from xmc.values import Positives
    >>> two = Positives(np.array([0, 2]), np.array([0, 1]), np.ones(2))
    >>> print(recipe_advice(QueryTable(["q"], ["a long text " * 40], two), ["x", "y"]).reason)
    queries of 120 words with 2.0 labels each are better served by --plugin linear.fused (docs/recipes.md)
    >>> recipe_advice(QueryTable(["q"], ["a short text"], two), ["x", "y"]) is None
    True
    """
    label_rows = queries.positives.label_rows
    if not len(label_rows) or queries.bag_ids is not None:
        return None
    words, labels = _words(queries.texts), len(label_rows) / len(queries)
    if words >= MANY_WORDS and labels >= SEVERAL:
        return _advice("linear.fused", f"queries of {words:.0f} words with {labels:.1f} labels each are")
    if (words := _words(label_texts)) >= LONG_LABELS:
        return _advice("dexml.passages", f"labels of {words:.0f} words are")
    counts_L = np.bincount(label_rows)
    often = counts_L[counts_L >= OFTEN].sum() / len(label_rows)
    if often >= MOST:
        share = f"{100 * often:.0f} % of all answers"
        return _advice("dexml.frequent", f"labels that have {OFTEN} training queries and more ({share}) are")
    return None


def _words(texts: Sequence[str]) -> float:
    """The median number of words."""
    return median(len(text.split()) for text in texts[:: max(1, len(texts) // _READ)])


def _advice(recipe: str, what: str) -> Advice:
    return Advice(recipe, f"{what} better served by --plugin {recipe} (docs/recipes.md)")
