"""Invariants: columns are the right labels; every known positive is marked; no label stands twice; the probabilities of
coming in are those of the draws, and with them the sum over a sample is on average that over all labels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmc.api import LossInputs, Positives
from xmc.train.label_scope import all_labels, sampled_labels

LABELS = 12
positives_of_queries = st.lists(st.sets(st.integers(0, LABELS - 1), max_size=5), min_size=1, max_size=6)


def to_positives(sets):
    rows = [sorted(labels) for labels in sets]
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    flat = np.array([label for row in rows for label in row], dtype=np.int32)
    return Positives(offsets, flat, np.arange(1, len(flat) + 1, dtype=np.float32))


def marked(scope):
    """{(query, label row): weight}."""
    columns = scope.pairs.columns_P.numpy()
    labels = columns if scope.label_rows is None else scope.label_rows[columns]
    return dict(
        zip(zip(scope.pairs.rows_P.tolist(), labels.tolist(), strict=True), scope.pairs.weights_P.tolist(), strict=True)
    )


def truth(sets, positives):
    pairs = [(query, label) for query, labels in enumerate(sets) for label in sorted(labels)]
    return dict(zip(pairs, positives.weights.tolist(), strict=True))


@given(positives_of_queries)
def test_all_labels_are_their_own_columns(sets):
    positives = to_positives(sets)
    scope = all_labels(positives)
    assert scope.label_rows is None and marked(scope) == truth(sets, positives)


@given(positives_of_queries, st.integers(1, 40), st.integers(0, 100))
def test_sampled_labels_hold_every_positive_and_nothing_twice(sets, sample, seed):
    positives = to_positives(sets)
    scope = sampled_labels(positives, labels=LABELS, sample=sample, generator=np.random.default_rng(seed))
    rows = scope.label_rows.tolist()
    assert rows == sorted(set(rows)) and set(rows) <= set(range(LABELS))
    assert set().union(*sets) <= set(rows)
    assert len(rows) <= len(set().union(*sets)) + min(sample, LABELS)
    assert marked(scope) == truth(sets, positives)
    columns, queries = scope.pairs.columns_P.tolist(), scope.pairs.rows_P.tolist()
    in_order = list(zip(queries, columns, strict=True))
    assert in_order == sorted(in_order), "LossInputs wants pairs sorted by row, then column"


def test_the_sample_is_that_of_the_generator_and_covers_all_labels_in_time():
    positives = to_positives([{3}])
    draws = [
        tuple(sampled_labels(positives, labels=LABELS, sample=4, generator=np.random.default_rng(seed)).label_rows)
        for seed in (1, 1, *range(2, 40))
    ]
    assert draws[0] == draws[1] and len(set(draws)) > 10
    assert {label for draw in draws for label in draw} == set(range(LABELS))


def test_every_label_is_in_for_certain_when_all_are_scored():
    assert all_labels(to_positives([{3}])).log_inclusion_C is None


def test_the_inclusion_probabilities_are_the_frequencies_of_the_draws():
    positives, runs = to_positives([{3, 5}, {5}]), 4000
    counts = dict.fromkeys(range(LABELS), 0)
    for seed in range(runs):
        scope = sampled_labels(positives, labels=LABELS, sample=4, generator=np.random.default_rng(seed))
        stated = dict(zip(scope.label_rows.tolist(), scope.log_inclusion_C.exp().tolist(), strict=True))
        for label in stated:
            counts[label] += 1
    assert stated[3] == stated[5] == 1 and counts[3] == counts[5] == runs
    drawn = next(stated[label] for label in stated if label not in (3, 5))
    assert drawn == pytest.approx(1 - (1 - 1 / LABELS) ** 4)
    for label in set(range(LABELS)) - {3, 5}:
        assert abs(counts[label] / runs - drawn) < 5 * math.sqrt(drawn * (1 - drawn) / runs)


def test_the_corrected_denominator_is_right_on_average_and_the_plain_one_far_too_small():
    """300 samples of 200 out of 2,000 labels: the mean of the sums against the full sum, in standard errors."""
    labels, runs = 2000, 300
    positives = to_positives([{3, 700}, {1500}])
    scores_QL = torch.randn(2, labels, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    full_Q = log_denominators(scores_QL, all_labels(positives))
    sums = {True: [], False: []}
    for seed in range(runs):
        scope = sampled_labels(positives, labels=labels, sample=200, generator=np.random.default_rng(seed))
        for corrected in sums:
            sums[corrected].append(log_denominators(scores_QL[:, scope.label_rows], scope, corrected=corrected))
    ratios = {corrected: (torch.stack(parts) - full_Q).exp() for corrected, parts in sums.items()}
    error_Q = ratios[True].std(dim=0) / math.sqrt(runs)
    assert ((ratios[True].mean(dim=0) - 1).abs() < 4 * error_Q).all() and (error_Q < 0.01).all()
    log_bias_Q, plain_log_bias_Q = (ratios[corrected].log().mean(dim=0) for corrected in (True, False))
    assert (log_bias_Q.abs() < 0.02).all(), "what is left is that the log of a mean is not the mean of the log"
    assert (plain_log_bias_Q < -2).all(), "about log(200 / 2000)"


def log_denominators(scores_QC, scope, *, corrected=False):
    pairs = scope.pairs
    inputs = LossInputs(scores_QC, pairs.rows_P, pairs.columns_P, pairs.weights_P, scope.log_inclusion_C)
    return inputs.log_sum_exp("negatives", correct_sampling=corrected)[1]
