"""Which recipe suits a data set better than the one that is taken when none is named."""

from __future__ import annotations

from statistics import median

from xmc.data.tables import QueryTable

MANY_WORDS, SEVERAL = 50, 2.0  # between what was measured: 508 words and 5.1 labels (EURLEX57K), 9 and 1.8 (WordNet)
ADVISED = "linear.fused"
_READ = 1_000  # queries


def recipe_advice(queries: QueryTable) -> str:
    """One sentence that names the recipe for long training queries with several labels each; '' for others.

    >>> import numpy as np
    >>> from xmc.values import Positives
    >>> two = Positives(np.array([0, 2]), np.array([0, 1]), np.ones(2))
    >>> print(recipe_advice(QueryTable(["q"], ["a long text " * 40], two)))
    queries of 120 words with 2.0 labels each are better served by --plugin linear.fused (docs/recipes.md)
    >>> recipe_advice(QueryTable(["q"], ["a short text"], two))
    ''
    """
    if not len(queries):
        return ""
    words = median(len(text.split()) for text in queries.texts[:: max(1, len(queries) // _READ)])
    labels = len(queries.positives.label_rows) / len(queries)
    if words < MANY_WORDS or labels < SEVERAL or queries.bag_ids is not None:
        return ""
    return (
        f"queries of {words:.0f} words with {labels:.1f} labels each are better served by --plugin {ADVISED} "
        "(docs/recipes.md)"
    )
