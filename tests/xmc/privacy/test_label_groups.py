"""Invariants: a label is in the group of its id's beginning; a query has each of its groups once."""

import numpy as np

from xmc.data.dataset import load_dataset
from xmc.privacy.label_groups import group_by_prefix, with_groups


def test_icd10cm_by_first_letter():
    data = load_dataset("icd10cm")
    groups, group_L = group_by_prefix(data.labels, 1)
    assert groups.ids == sorted({label_id[0] for label_id in data.labels.ids}) and len(groups) == 26
    assert [groups.ids[group] for group in group_L[:500]] == [label_id[0] for label_id in data.labels.ids[:500]]
    assert "fracture" in groups.texts[groups.ids.index("S")]
    queries = with_groups(data.train, group_L)
    for query in range(0, len(queries), 997):
        wanted = sorted({group_L[row] for row in data.train.positives.take(np.array([query])).label_rows})
        assert queries.positives.take(np.array([query])).label_rows.tolist() == wanted
    assert queries.positives.counts().min() >= 1 and (queries.positives.weights == 1).all()
