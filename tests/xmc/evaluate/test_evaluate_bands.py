"""Bands: every label is in exactly one; relevant hits, positives and pairs of all bands add up to the whole."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from ranking_cases import LABELS, as_hits, as_positives, judged, rankings, untimed

from xmc.evaluate.bands import BANDS, label_bands, restrict_to_labels
from xmc.evaluate.precision import precision_at_k
from xmc.evaluate.relevance import at_ranks, judge_hits


def oracle_band(count, head_min, torso_min):
    if count == 0:
        return "zero-shot"
    if count < torso_min:
        return "tail"
    return "torso" if count < head_min else "head"


@untimed
@given(st.lists(st.integers(0, 30)), st.integers(1, 12), st.integers(0, 12))
def test_bands_equal_the_loop(counts, torso_min, more):
    head_min = torso_min + more
    bands_L = label_bands(np.array(counts, dtype=np.int64), head_min=head_min, torso_min=torso_min)
    assert [BANDS[band] for band in bands_L] == [oracle_band(count, head_min, torso_min) for count in counts]


@untimed
@given(rankings(), st.sets(st.integers(0, LABELS - 1)))
def test_restricting_equals_the_loop(case, band):
    ranked, truth = case
    in_band_L = np.array([row in band for row in range(LABELS)])
    got = restrict_to_labels(judged(ranked, truth), in_band_L)
    kept = [
        [row for row in hits if row in band or row not in of_query]
        for hits, of_query in zip(ranked, truth, strict=True)
    ]
    kept_truth = [{row: weight for row, weight in of_query.items() if row in band} for of_query in truth]
    assert [rows.tolist() for rows, _ in got.hits] == kept
    expected = judge_hits(as_hits(kept), as_positives(kept_truth), labels=LABELS)
    assert got.relevance_H.tolist() == expected.relevance_H.tolist()
    assert got.positives.label_rows.tolist() == expected.positives.label_rows.tolist()
    assert got.positives.weights.tolist() == expected.positives.weights.tolist()
    assert got.positives.offsets.tolist() == expected.positives.offsets.tolist()


@untimed
@given(rankings(), st.lists(st.integers(0, 9), min_size=LABELS, max_size=LABELS))
def test_the_bands_add_up_to_the_whole(case, counts):
    whole = judged(*case)
    bands_L = label_bands(np.array(counts), head_min=6, torso_min=3)
    parts = [restrict_to_labels(whole, bands_L == number) for number in range(len(BANDS))]
    assert sum((part.relevance_H > 0).sum() for part in parts) == (whole.relevance_H > 0).sum()
    assert sum(part.positives.counts() for part in parts).tolist() == whole.positives.counts().tolist()


def test_right_answers_of_other_bands_do_not_lower_precision():
    # Rows 0 and 1 are head, 2 is tail: the tail label at rank 3 moves up to rank 1, the wrong row 5 stays in its way.
    in_tail_L = np.arange(LABELS) == 2
    for ranked, expected in (([0, 1, 2], 1.0), ([0, 5, 2], 0.0)):
        tail = restrict_to_labels(judged([ranked], [{0: 1.0, 1: 1.0, 2: 1.0}]), in_tail_L)
        relevant_QK = at_ranks(tail.relevance_H > 0, tail.hits.offsets, 1)
        assert precision_at_k(relevant_QK, tail.positives.counts(), 1).tolist() == [expected]
