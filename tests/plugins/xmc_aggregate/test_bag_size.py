"""Invariants: the closed-form risks are those of simulated regressions; which loss wins; the best bag size."""

import math

import numpy as np
import pytest

from xmc_aggregate.bag_size import LinearModel


def simulated_risk(model, k, *, rho, dimension=150, repeats=20, seed=0):
    """Least squares on bag means (rho 0) up to the instance-level loss (rho 1), as it is."""
    rng, found = np.random.default_rng(seed), []
    queries = int(model.queries_per_dimension * dimension) // k * k
    for _ in range(repeats):
        x_QD, theta_D = rng.standard_normal((queries, dimension)), rng.standard_normal(dimension)
        theta_D *= model.signal / np.linalg.norm(theta_D)
        y_Q = x_QD @ theta_D + model.noise * rng.standard_normal(queries)
        y_A = y_Q.reshape(-1, k).mean(1) + model.bag_noise / k * rng.laplace(size=queries // k)
        mean_AD = x_QD.reshape(-1, k, dimension).mean(1)
        bag_DD = k * mean_AD.T @ mean_AD
        system_DD = bag_DD + rho * (x_QD.T @ x_QD - bag_DD)
        found.append(((np.linalg.solve(system_DD, k * mean_AD.T @ y_A) - theta_D) ** 2).sum())
    return np.mean(found)


CASES = [(1, 4, 0.7, 0), (2, 6, 0.7, 0), (3, 8, 0.7, 0), (5, 12, 1.5, 0), (3, 8, 0.5, 0.8), (4, 12, 0.5, 1.2)]


@pytest.mark.parametrize(("k", "psi", "noise", "b"), CASES)
def test_risks_are_those_of_a_simulation(k, psi, noise, b):
    model = LinearModel(1.0, noise, psi, bag_noise=b * k)
    assert model.bag_level_risk(k) == pytest.approx(simulated_risk(model, k, rho=0.0), rel=0.1)
    assert model.instance_level_risk(k) == pytest.approx(simulated_risk(model, k, rho=1.0), rel=0.08)


def test_a_model_without_noise_is_one_and_without_signal_is_none():
    assert LinearModel(1.0, 0.0, 6).bag_level_risk(1) == 0
    for wrong in ((0.0, 0.7, 6), (1.0, -0.1, 6), (1.0, 0.7, 1), (1.0, 0.7, 6, -0.1)):
        with pytest.raises(ValueError, match="are needed, got LinearModel"):
            LinearModel(*wrong)


def test_values_of_the_closed_forms():
    assert LinearModel(1, 0.7, 6).bag_level_risk(2) == pytest.approx(0.245, abs=5e-4)
    assert LinearModel(1, 0.7, 6).instance_level_risk(2) == pytest.approx(0.349, abs=5e-4)
    assert LinearModel(1, 1.5, 12).bag_level_risk(5) == pytest.approx(1.607, abs=5e-4)
    assert LinearModel(1, 1.5, 12).instance_level_risk(5) == pytest.approx(0.6955, abs=5e-4)
    assert LinearModel(1, 1.5, 4).bag_level_risk(4) == math.inf


def test_between_the_two_there_is_a_better_one():
    model = LinearModel(1, 1.5, 12)
    between = simulated_risk(model, 5, rho=0.25)
    assert between < 0.9 * simulated_risk(model, 5, rho=1.0) and between < simulated_risk(model, 5, rho=0.0)


@pytest.mark.parametrize(("k", "psi", "limit"), [(5, 12, 1.063), (2, 6, 4 / 3)])
def test_instance_level_wins_below_a_signal_to_noise_ratio(k, psi, limit):
    for ratio, wins in ((0.99 * limit, True), (1.01 * limit, False)):
        model = LinearModel(math.sqrt(ratio), 1.0, psi)
        assert (model.instance_level_risk(k) < model.bag_level_risk(k)) is wins


def test_one_query_a_bag_is_both_losses():
    model = LinearModel(1.3, 0.7, 5, bag_noise=0.4)
    assert model.bag_level_risk(1) == pytest.approx(model.instance_level_risk(1))


@pytest.mark.parametrize(("epsilon", "best", "formula"), [(0.5, 4, 4.05), (1.0, 2, 1.73), (4.0, 1, 1.01)])
def test_best_bag_size(epsilon, best, formula):
    model, c, psi = LinearModel(1, 0.5, 12, bag_noise=2 / epsilon), 2.0, 12
    assert model.best_bag_size("instance-level", largest=11) == best
    assert model.best_bag_size("bag-level", largest=11) == 1
    doubled = 2 * (c / epsilon) ** 2
    stationary = 2 * ((psi - 2) + doubled) / (2 * (psi - 1) - 1 - 0.25)
    assert stationary == pytest.approx(formula, abs=0.01) and abs(stationary - best) < 1


def test_refusal():
    with pytest.raises(ValueError, match="queries_per_dimension > 1"):
        LinearModel(1, 1, 1)
