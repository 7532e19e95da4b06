"""Invariants: simulated linear regression agrees with the formula within Monte-Carlo error at several P / N; frozen
modes stay; never stopping is worst at P = N, and stopping in time has no peak there; small initial weights matter where
P < N; eigenvalues of random features follow Marchenko and Pastur."""

import numpy as np
import pytest
from planted_heads import descend, regression

from xmc.diagnose.dynamics import best_time, generalisation_errors, marchenko_pastur, mode_errors, time_grid

FEATURES, NOISE = 24, 0.3


def spectrum(features):
    values = np.linalg.eigvalsh(features.T @ features)
    return np.where(values > 1e-9, values, 0.0)


@pytest.mark.parametrize("queries", [8, 16, 24, 36, 96])
def test_simulation_agrees_at_several_ratios(queries):
    data, weights = regression(queries=queries, features=FEATURES, noise=NOISE, answers=400, held_out=0, seed=queries)
    outputs = data.answers_PL.toarray()
    rate, steps = 2e-4, (20, 100, 500)
    path = descend(data.features_PN, outputs, rate=rate, steps=max(steps))
    times = rate * np.array(steps)
    values = spectrum(data.features_PN)
    wanted = generalisation_errors(values, times, inputs_M=1.0, teacher_M=1 / FEATURES, noise=NOISE)
    for step, theory in zip(steps, wanted, strict=True):
        per_answer = ((path[step - 1] - weights) ** 2).sum(axis=0) + NOISE
        margin = 4 * per_answer.std() / np.sqrt(len(per_answer))
        assert abs(per_answer.mean() - theory) < margin + 1e-3, (step, per_answer.mean(), theory)


def test_frozen_modes_stay_and_initial_weights_count_there_for_ever():
    times = np.array([0.0, 1.0, 1e6])
    stays, learns = mode_errors(np.array([0.0, 2.0]), times, teacher_M=0.5, noise=0.1, start=0.2).T
    assert stays == pytest.approx(0.7) and learns[0] == pytest.approx(0.7) and learns[-1] == pytest.approx(0.1 / 2)
    few, many = (regression(queries=p, features=FEATURES, noise=NOISE, held_out=0)[0].features_PN for p in (12, 96))
    ends = []
    for features in (few, many):
        shared = {"inputs_M": 1.0, "teacher_M": 1 / FEATURES, "noise": NOISE}
        small, large = (
            generalisation_errors(spectrum(features), np.array([1e9]), start=s, **shared)[0] for s in (0.0, 1.0)
        )
        ends.append(large - small)
    assert ends[0] == pytest.approx(FEATURES - 12) and ends[1] == pytest.approx(0, abs=1e-9)


def test_double_descent_without_stopping_and_none_with_it():
    at_end, stopped = {}, {}
    for queries in (6, 12, 24, 48, 96):
        features = regression(queries=queries, features=FEATURES, noise=NOISE, held_out=0, seed=5)[0].features_PN
        values = spectrum(features)
        times = time_grid(values)
        errors = generalisation_errors(values, times, inputs_M=1.0, teacher_M=1 / FEATURES, noise=NOISE)
        at_end[queries], stopped[queries] = errors[-1], errors.min()
    assert max(at_end, key=at_end.get) == FEATURES and at_end[FEATURES] > 3 * at_end[96]
    assert sorted(stopped.values(), reverse=True) == list(stopped.values())


@pytest.mark.parametrize("ratio", [0.25, 0.8])
def test_eigenvalues_follow_marchenko_pastur(ratio):
    queries = 800
    features = np.random.default_rng(1).standard_normal((queries, int(ratio * queries)))
    values = spectrum(features) / queries
    grid = np.linspace(1e-4, (1 + np.sqrt(ratio)) ** 2, 4000)
    density = marchenko_pastur(grid, ratio=ratio)
    share = np.cumsum(density) * (grid[1] - grid[0])
    assert share[-1] == pytest.approx(1, abs=0.02)
    for place in (0.25, 0.5, 0.75):
        assert np.quantile(values, place) == pytest.approx(grid[np.searchsorted(share, place * share[-1])], rel=0.05)


def test_best_time_at_the_ends():
    times = np.array([1.0, 2.0, 4.0])
    assert best_time(np.array([1.0, 2.0, 3.0]), times) == 1.0 and best_time(np.array([3.0, 2.0, 1.0]), times) == 4.0
