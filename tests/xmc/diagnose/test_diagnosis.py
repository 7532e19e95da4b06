"""Invariants, on planted regressions: held-out errors equal the loop; the predicted stop is within 10 % of the best one
in time; signal over noise is recovered; a head of plain gradient descent is placed at its time and step; the advice
fits what was planted; what cannot be diagnosed is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from planted_heads import descend, regression
from scipy.sparse import csr_array

from xmc.diagnose.dynamics import generalisation_errors, time_grid
from xmc.diagnose.estimate import learned_time
from xmc.diagnose.features import held_out_errors, modes_of
from xmc.diagnose.report import RunHead, diagnose
from xmc.errors import DataError


def test_held_out_errors_equal_the_loop():
    data, _ = regression(queries=20, features=30, noise=0.5, answers=4, held_out=6)
    modes = modes_of(data)
    times = time_grid(modes.eigenvalues_M, points=5)
    found = held_out_errors(modes, data, times)
    vectors, values = modes.vectors_NM, modes.eigenvalues_M
    for column, time in enumerate(times):
        weights = vectors @ np.diag((1 - np.exp(-values * time)) / values) @ vectors.T @ data.features_PN.T
        guesses = data.held_features_HN @ (weights @ data.answers_PL.toarray())
        assert found[:, column] == pytest.approx(((guesses - data.held_answers_HL.toarray()) ** 2).sum(axis=1))


@pytest.mark.parametrize("queries", [20, 40, 80, 200])
@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_the_predicted_stop_is_the_best_one(queries, noise):
    """Best by the theory with the true teacher and noise, which test_dynamics.py holds against simulation."""
    data, _ = regression(queries=queries, features=40, noise=noise, answers=200, seed=queries)
    found = diagnose(data)
    values = np.concatenate([found.modes.eigenvalues_M, np.zeros(40 - len(found.modes.eigenvalues_M))])
    true = generalisation_errors(values, found.times_T, inputs_M=1.0, teacher_M=1 / 40, noise=noise)
    best = found.times_T[true.argmin()]
    assert found.stopping_time == pytest.approx(best, rel=0.10)
    assert found.measured_time == pytest.approx(best, rel=0.25)
    assert found.snr == pytest.approx(min(1.0, queries / 40) / noise, rel=0.25)


def test_a_head_of_gradient_descent_is_placed_at_its_step():
    data, _ = regression(queries=60, features=40, noise=1.0, answers=100)
    rate, steps = 1e-3, 400
    path = descend(data.features_PN, data.answers_PL.toarray(), rate=rate, steps=steps)
    modes = modes_of(data)
    times = time_grid(modes.eigenvalues_M)
    for step in (30, 200):
        time, fit = learned_time(modes, 7.0 * path[step - 1].T, times)  # its length means nothing
        assert time == pytest.approx(rate * step, rel=0.1) and fit > 0.95
    found = diagnose(data, RunHead(path[-1].T, steps, list(np.arange(1, steps + 1) * rate)))
    errors = [((data.held_features_HN @ w - data.held_answers_HL.toarray()) ** 2).sum(axis=1).mean() for w in path]
    assert found.stopping_step == pytest.approx(int(np.argmin(errors)) + 1, rel=0.15)


def test_too_little_data():
    data, _ = regression(queries=60, features=40, noise=0.05, decay=1.5)
    assert diagnose(data).advice.advice == "more data"


def test_too_narrow():
    data, _ = regression(queries=4000, features=20, hidden=60, noise=0.1)
    assert diagnose(data).advice.advice == "wider"


def test_overtrained():
    data, _ = regression(queries=44, features=40, noise=4.0)
    modes = modes_of(data)
    end = modes.weights_ML.T @ modes.vectors_NM.T  # trained to the end, near P = N
    found = diagnose(data, RunHead(end, 1000, list(range(1, 1001))))
    assert found.advice.advice == "stop earlier" and found.advice.gains["stop earlier"] > 0.5
    assert found.stopping_step is not None and found.stopping_step < 500
    assert any("double descent" in note for note in found.notes)


def test_nothing_to_advise():
    data, _ = regression(queries=8000, features=4, noise=1.0)
    assert diagnose(data).advice.gains["more data"] < 0.02
    noise_only, _ = regression(queries=4000, features=4, noise=1e6)
    assert diagnose(noise_only).advice.advice == "none"


def test_answers_without_noise_have_no_ratio_and_json_can_hold_the_report():
    data, _ = regression(queries=400, features=20, noise=0.0)
    found = diagnose(data)
    assert found.noise == 0 and found.snr is None
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["snr"] is None


def test_refusals():
    data, _ = regression(queries=10, features=4, noise=1.0)
    with pytest.raises(DataError, match="needs 20 training and 20 held-out queries, got 10 and 2,000"):
        diagnose(data)
    data, _ = regression(queries=40, features=4, noise=1.0, held_out=30)
    with pytest.raises(DataError, match="the features are all 0, or not finite"):
        diagnose(replace(data, features_PN=np.full((40, 4), np.nan)))
    with pytest.raises(DataError, match="no query has a positive"):
        diagnose(replace(data, answers_PL=csr_array((40, 30))))
