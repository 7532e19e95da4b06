"""Invariants: the model finds what drives clicks, predicts no row by itself, and knows no order of rows or of runs."""

import numpy as np
import pytest

from xmc.choose.log import log_of, log_table
from xmc.choose.reward_model import fold_of_rows, pair_features, predict_rewards
from xmc.errors import DataError

QUERIES, LABELS = 400, 6


def world(seed=0, reward=lambda clicks: clicks):
    """A log in which a label is clicked the more often the higher the first run scores it; the second is noise."""
    generator = np.random.default_rng(seed)
    scores_QM = generator.normal(size=(QUERIES, LABELS))
    noise_QM = generator.normal(size=(QUERIES, LABELS))
    columns_QK = np.argsort(generator.random((QUERIES, LABELS)), axis=1)[:, :2]
    chances_QM = 1 / (1 + np.exp(-2 * scores_QM)) * 0.8
    clicks_QK = generator.random((QUERIES, 2)) < np.take_along_axis(chances_QM, columns_QK, 1) * [1.0, 0.5]
    ids = np.array([f"l{label}" for label in range(LABELS)])
    columns = {
        "query_id": [f"q{row}" for row in range(QUERIES)],
        "text": ["text"] * QUERIES,
        "candidates": [ids.tolist()] * QUERIES,
        "label_ids": ids[columns_QK].tolist(),
        "propensities": [[1 / LABELS, 1 / (LABELS - 1)]] * QUERIES,
        "rewards": reward(clicks_QK.astype(float)).tolist(),
    }
    return columns, scores_QM, noise_QM


def whole(predictions):
    return predictions.at(slice(0, QUERIES))


def test_better_labels_and_higher_ranks_are_expected_to_earn_more():
    columns, scores_QM, noise_QM = world()
    expected_QKM = whole(predict_rewards(log_of(log_table(columns)), [scores_QM, noise_QM]))
    assert ((expected_QKM > 0) & (expected_QKM < 1)).all()
    best, worst = scores_QM.argmax(axis=1), scores_QM.argmin(axis=1)
    rows = np.arange(QUERIES)
    assert expected_QKM[rows, 0, best].mean() > expected_QKM[rows, 0, worst].mean() + 0.3
    assert expected_QKM[:, 0].mean() > expected_QKM[:, 1].mean() + 0.1


def test_numbers_that_are_not_clicks_are_predicted_within_what_was_seen():
    columns, scores_QM, noise_QM = world(
        reward=lambda clicks: clicks * np.linspace(4, 5, clicks.size).reshape(clicks.shape) - 2
    )
    expected_QKM = whole(predict_rewards(log_of(log_table(columns)), [scores_QM, noise_QM]))
    assert expected_QKM.min() >= -2 and expected_QKM.max() <= 3 and expected_QKM.std() > 0.5


def test_a_row_has_no_part_in_its_own_prediction():
    columns, scores_QM, _ = world()
    before = whole(predict_rewards(log_of(log_table(columns)), [scores_QM]))
    fold_Q = fold_of_rows(columns["query_id"])
    own = fold_Q == fold_Q[7]
    for row in np.flatnonzero(own):
        columns["rewards"][row] = [1.0, 1.0]
    after = whole(predict_rewards(log_of(log_table(columns)), [scores_QM]))
    assert np.array_equal(before[own], after[own]) and not np.allclose(before[~own], after[~own])
    assert sorted(np.bincount(fold_Q)) == [80] * 5


def test_no_order_of_rows_or_runs():
    columns, scores_QM, noise_QM = world()
    before = whole(predict_rewards(log_of(log_table(columns)), [scores_QM, noise_QM]))
    order = np.random.default_rng(1).permutation(QUERIES)
    shuffled = {name: [values[row] for row in order] for name, values in columns.items()}
    after = whole(predict_rewards(log_of(log_table(shuffled)), [noise_QM[order], scores_QM[order]]))
    assert np.allclose(after, before[order], atol=1e-6)


def test_a_log_without_a_click_has_a_model():
    columns, scores_QM, _ = world(reward=lambda clicks: 0 * clicks)
    expected_QKM = whole(predict_rewards(log_of(log_table(columns)), [scores_QM]))
    assert 0 < expected_QKM.max() < 0.01


def test_rows_of_one_query_share_a_fold_and_one_query_is_too_few():
    fold_Q = fold_of_rows(["a", "b", "a", "c", "b"])
    assert fold_Q[0] == fold_Q[2] and fold_Q[1] == fold_Q[4] and len(set(fold_Q.tolist())) == 3
    with pytest.raises(DataError, match="one query"):
        fold_of_rows(["a", "a"])


def test_features_of_a_row_with_fewer_candidates():
    found = pair_features([np.array([[1.0, -np.inf], [0.0, 2.0]])])
    assert np.isfinite(found).all() and found[0, 1].tolist() == [0, 0] and found[1, :, 1].tolist() == [0.5, 1]


def test_features_know_no_unit_of_the_scores():
    scores_QM = np.array([[1.0, 3.0, 2.5], [0.0, -1.0, -np.inf]])
    np.testing.assert_allclose(pair_features([100 * scores_QM]), pair_features([scores_QM]))
    assert pair_features([np.full((2, 2), 7.0)])[:, :, 0].tolist() == [[0, 0], [0, 0]], "all alike: nothing to scale"
