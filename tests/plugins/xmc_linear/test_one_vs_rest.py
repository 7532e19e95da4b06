"""Invariants: the optimum of the stated objective; empty problems; pruning; the support holds the answer in place."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from repetitions import only_in_full

from xmc_linear import one_vs_rest
from xmc_linear.blocks import Problem
from xmc_linear.newton import logistic, squared_hinge
from xmc_linear.one_vs_rest import SolverOptions, fit_labels, stacked


def hinge(margins):
    return np.maximum(1 - margins, 0) ** 2


def fit_one(features, row_weights, problem, *, options):
    return fit_labels(features, row_weights, lambda label: problem, labels=1, options=options, threads=1)[0]


def random_features(rows=120, columns=60, seed=0):
    features = scipy.sparse.random(rows, columns, density=0.15, random_state=seed, format="csr")
    return scipy.sparse.hstack([features, np.ones((rows, 1))], format="csr")


def objective(weights, features, signs, row_weights, loss, cost):
    """Row by row: ½ |w|² + cost · Σ weight · loss(margin)."""
    value = 0.5 * float(weights @ weights)
    for row, sign, row_weight in zip(features.toarray(), signs, row_weights, strict=True):
        margin = sign * float(row @ weights)
        each = max(0.0, 1 - margin) ** 2 if loss == "squared-hinge" else np.logaddexp(0, -margin)
        value += cost * row_weight * each
    return value


@pytest.mark.parametrize(
    ("loss", "solver"), [("squared-hinge", "newton"), ("logistic", "newton"), ("squared-hinge", "dual")]
)
@pytest.mark.parametrize("cost", [0.3, pytest.param(4.0, marks=only_in_full)])
def test_reaches_the_optimum_of_the_objective(loss, solver, cost):
    features = random_features()
    row_weights = np.random.default_rng(1).uniform(0.2, 3.0, 120)
    problem = Problem(np.arange(5, 30), np.arange(40, 110))
    options = SolverOptions(
        loss=loss, cost=cost, positive_weight=2.5, tolerance=1e-4, iterations=2000, prune=0.0, solver=solver
    )
    found = fit_one(features, row_weights, problem, options=options)
    weights = np.zeros(features.shape[1])
    weights[found.features] = found.weights
    rows = np.concatenate(problem)
    signs = np.where(np.arange(len(rows)) < 25, 1.0, -1.0)
    args = (features[rows], signs, row_weights[rows] * np.where(signs > 0, 2.5, 1.0), loss, cost)
    best = scipy.optimize.minimize(objective, np.zeros_like(weights), args=args, method="L-BFGS-B")
    assert objective(weights, *args) <= best.fun * 1.001
    scores = features[problem.negative_rows].toarray() @ weights
    clearly = -1 + 1e-6 if loss == "squared-hinge" else -5.2
    assert set(found.support) >= set(problem.negative_rows[scores > clearly])
    assert not set(found.support) & set(problem.negative_rows[scores < -1.01]) or loss == "logistic"


def test_pruning_drops_the_small_weights_and_no_other():
    features, problem = random_features(), Problem(np.arange(5, 30), np.arange(40, 110))
    whole, pruned = (
        fit_one(features, np.ones(120), problem, options=SolverOptions(prune=prune)) for prune in (0.0, 0.2)
    )
    kept = {feature: weight for feature, weight in zip(*whole[:2], strict=True) if abs(weight) >= 0.2}
    assert dict(zip(*pruned[:2], strict=True)) == kept
    assert 0 < len(kept) < len(whole.features)


@pytest.mark.parametrize("options", [SolverOptions(), SolverOptions("logistic", 8.0), SolverOptions(solver="dual")])
def test_a_label_alone_has_the_same_classifier_in_any_company_and_number_of_threads(monkeypatch, options):
    features, none, told = random_features(), np.zeros(0, np.int64), []
    problems = [
        Problem(none, np.arange(9)),
        Problem(np.arange(9), none),
        *(Problem(np.arange(i, i + 9), np.arange(60, 63 + 2 * i)) for i in range(20)),
    ]
    args = features, np.ones(120), problems.__getitem__
    together = fit_labels(*args, labels=22, options=options, threads=1, on_progress=told.append)
    monkeypatch.setattr(one_vs_rest, "LABELS_AT_ONCE", 6)
    monkeypatch.setattr(one_vs_rest, "NUMBERS_AT_ONCE", 900)
    threaded = fit_labels(*args, labels=22, options=options, threads=3, on_progress=told.append)
    alone = [fit_one(features, np.ones(120), problem, options=options) for problem in problems]
    for found in zip(together, threaded, alone, strict=True):
        assert len({tuple(part.tobytes() for part in one) for one in found}) == 1
    assert sum(told) == 44
    weights = stacked(together, features=61)
    assert weights[:2].nnz == 0
    assert (np.diff(weights[2:].indptr) > 0).all()


def test_rows_without_features_and_huge_costs_are_borne():
    features = scipy.sparse.csr_matrix(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1e-3], [1.0, -1e-3]]))
    nothing = fit_one(features, np.ones(4), Problem(np.array([0]), np.array([1])), options=SolverOptions())
    assert [len(part) for part in nothing] == [0, 0, 0]
    for loss in ("logistic", "squared-hinge"):
        for cost in (1e-300, 1e12, 1e100):
            found = fit_one(
                features, np.ones(4), Problem(np.array([0, 2]), np.array([1, 3])), options=SolverOptions(loss, cost)
            )
            assert np.isfinite(found.weights).all()


def test_a_negative_of_no_more_than_half_a_per_cent_holds_no_logistic_classifier_in_place():
    features = scipy.sparse.csr_matrix(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.1]]))
    problem = Problem(np.array([0]), np.array([1, 2]))
    found = fit_one(features, np.ones(3), problem, options=SolverOptions("logistic", 1e4, tolerance=1e-6))
    scores = features.toarray()[1:] @ found.weights
    assert scores[0] < np.log(0.005 / 0.995) < scores[1]
    assert found.support.tolist() == [2]


@pytest.mark.parametrize(("loss", "formula"), [(logistic, lambda m: np.logaddexp(0, -m)), (squared_hinge, hinge)])
def test_losses_of_a_margin_and_their_slopes(loss, formula):
    margins, step = np.array([-30.0, -2.0, -0.3, 0.4, 0.9, 1.7, 30.0]), 1e-5
    found, ahead, behind = (loss(margins + nudge) for nudge in (0.0, step, -step))
    np.testing.assert_allclose(found.value, formula(margins), rtol=1e-12)
    np.testing.assert_allclose(found.slope, (ahead.value - behind.value) / (2 * step), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.curvature, (ahead.slope - behind.slope) / (2 * step), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "wrong", [{"loss": "hinge"}, {"cost": 0}, {"tolerance": float("nan")}, {"iterations": 0}, {"prune": -1}]
)
def test_options_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SolverOptions(**wrong)
