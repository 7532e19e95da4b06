"""Invariant: of two indexes that are about as fast, the faster is the one that answers new queries sooner."""

import pytest
import torch
from graded import CLOCK, Graded, GradedIndex, vectors

from xmc.tune.reference import exact_reference
from xmc.tune.ruler import Ruler

LABELS, QUERIES = vectors()


class CachingIndex(GradedIndex):
    """Answers the queries of its last batch in no time when it is asked them again."""

    last = None

    def search(self, queries_QD, k):
        started = CLOCK.now
        hits = super().search(queries_QD, k)
        if self.last is not None and self.last.equal(queries_QD):
            CLOCK.now = started
        object.__setattr__(self, "last", queries_QD)
        return hits


def index_of(kind, query_s):
    return kind(Graded(effort=64, query_s=query_s), torch.from_numpy(LABELS.matrix_LE), "cosine")


def test_what_a_cache_keeps_is_not_taken_for_speed():
    ruler = Ruler(exact_reference(LABELS, QUERIES, 5), 5, 32, clock=CLOCK)
    slower, faster = index_of(CachingIndex, 1.2e-5), index_of(GradedIndex, 1e-5)
    assert ruler.faster(slower, faster) == pytest.approx(1 / 1.2)
    assert ruler.faster(faster, slower) == pytest.approx(1.2)
