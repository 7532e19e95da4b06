"""What to do where too few queries are held out for a check."""

from __future__ import annotations

import math

from xmc.api import CheckContext
from xmc.counted import counted
from xmc.data.dataset import Dataset, load_dataset
from xmc.engine.run_config import RunConfig
from xmc.evaluate.relevance import judge_hits

ENOUGH_QUERIES = 50  # to fit to: label sets can then miss as little as 2 %
ENOUGH_RELEVANT = 30  # retrieved positives of these: probabilities need 20
LARGEST_SHARE = 0.5


def advise_more_queries(config: RunConfig, data: Dataset, context: CheckContext) -> str:
    """The `train.validation_share` that holds out enough queries to fit to; empty where enough are, or it is not used.

    It is used where the data set has no dev split of its own and what is fitted comes from dev.
    """
    if load_dataset(config.data.name).dev is not None or data.dev is None:
        return ""
    fitted = context.fit_queries
    if not set(fitted.ids) <= set(data.dev.ids):
        return ""
    hits = context.search(fitted, k=10)
    judged = judge_hits(hits, fitted.positives, labels=len(context.retriever.labels))
    relevant = int((judged.relevance_H > 0).sum())
    factor = max(ENOUGH_QUERIES / len(fitted), ENOUGH_RELEVANT / max(relevant, 1))
    if factor <= 1:
        return ""
    dev, train = len(data.dev), len(data.train)
    share = math.ceil(20 * factor * dev / (dev + train)) / 20
    held = f"dev is {dev:,} of the {counted(dev + train, 'query')} to train on, held out by train.validation_share"
    if share > LARGEST_SHARE:
        return f"Here {held}, which cannot be large enough: add queries, or a test table, to the data set."
    return f"Here {held} = {config.train.validation_share:g}; {share:g} is enough, and means training again."
