"""Invariants: the optimum of the stated objective; empty problems; pruning; the support holds the answer in place."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from repetitions import only_in_full

from xmc_linear.one_vs_rest import Problem, SolverOptions, fit_labels, fit_one, stacked


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


def test_a_label_without_positives_or_negatives_gets_no_weights_and_threads_change_nothing():
    features, none = random_features(), np.zeros(0, np.int64)
    problems = [
        Problem(none, np.arange(9)),
        Problem(np.arange(9), none),
        *(Problem(np.arange(i, i + 9), np.arange(60, 90)) for i in range(20)),
    ]
    told = []
    answers = [
        stacked(
            fit_labels(
                features,
                np.ones(120),
                problems.__getitem__,
                labels=22,
                options=SolverOptions(),
                threads=threads,
                on_progress=told.append,
            ),
            features=61,
        )
        for threads in (1, 3)
    ]
    assert answers[0][:2].nnz == 0
    assert answers[0][2:].nnz > 0
    assert (answers[0] != answers[1]).nnz == 0
    assert sum(told) == 44


@pytest.mark.parametrize(
    "wrong", [{"loss": "hinge"}, {"cost": 0}, {"tolerance": float("nan")}, {"iterations": 0}, {"prune": -1}]
)
def test_options_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SolverOptions(**wrong)
