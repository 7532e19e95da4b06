"""Random rankings and the same thing said in plain lists: what the oracles of the metric tests walk over."""

import math

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from xmc.evaluate.relevance import at_ranks, judge_hits
from xmc.values import Hits, Positives

LABELS = 12

untimed = settings(deadline=None)  # a busy machine must not fail a test


@st.composite
def rankings(draw, max_queries=6):
    """`(hits, truth)` as lists: ranked label rows, and a dict label row -> weight, per query; either may be empty."""
    queries = draw(st.integers(1, max_queries))
    rows = st.lists(st.integers(0, LABELS - 1), unique=True, max_size=LABELS)
    weights = st.sampled_from([0.25, 0.5, 1.0, 2.0])
    hits = [draw(rows) for _ in range(queries)]
    truth = [dict.fromkeys(draw(rows), 1.0) for _ in range(queries)]
    truth = [{label_row: draw(weights) for label_row in of_query} for of_query in truth]
    return hits, truth


def as_hits(ranked, *, scores=None):
    """Hits from lists of label rows; all scores negative and many of them equal unless given."""
    flat = [label_row for of_query in ranked for label_row in of_query]
    scores = scores or [-1.0 - (rank // 2) for of_query in ranked for rank in range(len(of_query))]
    return Hits(_offsets(ranked), np.array(flat, dtype=np.int64), np.array(scores, dtype=np.float32))


def as_positives(truth):
    label_rows = [label_row for of_query in truth for label_row in of_query]
    weights = [weight for of_query in truth for weight in of_query.values()]
    return Positives(_offsets(truth), np.array(label_rows, dtype=np.int32), np.array(weights, dtype=np.float32))


def judged(ranked, truth, labels=LABELS):
    return judge_hits(as_hits(ranked), as_positives(truth), labels=labels)


def relevant(ranked, truth, k=LABELS):
    """`relevant_QK, positive_counts_Q` of the code under test's own join, for tests of what comes after it."""
    case = judged(ranked, truth)
    return at_ranks(case.relevance_H > 0, case.hits.offsets, k), case.positives.counts()


def oracle_dcg(gains):
    total = 0.0
    for position, gain in enumerate(gains):
        total += gain / math.log2(position + 2)
    return total


def _offsets(lists):
    offsets = [0]
    for of_query in lists:
        offsets.append(offsets[-1] + len(of_query))
    return np.array(offsets, dtype=np.int64)
