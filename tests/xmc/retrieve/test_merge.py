from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmc.errors import ConfigError, DataError
from xmc.retrieve.merge import merge_hits
from xmc.values import Hits
from xmc_index_exact.exact import Exact


def search(labels_LD, queries_QD, k, first_row=0):
    hits = Exact().build([labels_LD], similarity="dot", device="cpu").search(queries_QD, k)
    return Hits(hits.offsets, hits.label_rows + first_row, hits.scores)


@given(st.integers(0, 10**6), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 30))
def test_merging_the_answers_of_shards_is_the_answer_of_the_whole(seed, sizes, k):
    generator = torch.Generator().manual_seed(seed)
    # Few small whole numbers: many ties, within and across shards.
    labels_LD = torch.randint(-1, 2, (sum(sizes), 3), generator=generator).float()
    queries_QD = torch.randint(-1, 2, (4, 3), generator=generator).float()
    starts = np.cumsum([0, *sizes])
    parts = [search(labels_LD[a:b], queries_QD, k, int(a)) for a, b in pairwise(starts)]
    whole, merged = search(labels_LD, queries_QD, k), merge_hits(parts[::-1], k)
    assert merged.offsets.tolist() == whole.offsets.tolist()
    assert merged.label_rows.tolist() == whole.label_rows.tolist()
    assert merged.scores.tolist() == whole.scores.tolist()


def test_parts_must_answer_the_same_queries():
    one, two = search(torch.eye(2), torch.ones(1, 2), 1), search(torch.eye(2), torch.ones(2, 2), 1)
    with pytest.raises(DataError, match=r"\[1, 2\]"):
        merge_hits([one, two], 1)
    with pytest.raises(DataError, match="no hits"):
        merge_hits([], 1)
    with pytest.raises(ConfigError, match="k must be"):
        merge_hits([one], 0)
