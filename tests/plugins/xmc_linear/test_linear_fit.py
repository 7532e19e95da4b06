"""Invariants: with every query on the shortlist, each label is a plain SVM; labels that can be learned are; any number
of threads; what is handed to an index ranks like the weights."""

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.svm import LinearSVC

from xmc.api import DataError, Positives
from xmc_linear.fit import OneVsRestOptions, fit_one_vs_rest
from xmc_linear.head import LinearHead
from xmc_linear.one_vs_rest import SolverOptions
from xmc_linear.weights import LinearWeights

LABELS, QUERIES = 12, 200


def learnable(seed=0):
    """Each label has words of its own; a query has one to three labels, their words, noise and a constant."""
    generator = np.random.default_rng(seed)
    features = (generator.random((QUERIES, 5 * LABELS + 20)) < 0.05).astype(np.float32) * 0.3
    offsets, label_rows = [0], []
    for query in range(QUERIES):
        chosen = np.sort(generator.choice(LABELS - 1, generator.integers(1, 4), replace=False))  # the last has none
        for label in chosen:
            features[query, 5 * label + generator.choice(5, 3, replace=False)] = 0.5
        label_rows.extend(chosen)
        offsets.append(len(label_rows))
    features[:, -1] = 1.0
    positives = Positives(np.array(offsets), np.array(label_rows, np.int32), np.ones(len(label_rows), np.float32))
    return scipy.sparse.csr_matrix(features), positives


def precision_at_1(features, weights, positives):
    best = np.asarray((features @ weights.T).todense()).argmax(axis=1)
    sets = [positives.label_rows[a:b] for a, b in zip(positives.offsets, positives.offsets[1:], strict=False)]
    return np.mean([label in relevant for label, relevant in zip(best, sets, strict=True)])


def test_with_all_labels_on_the_shortlist_it_is_scikit_learns_support_vector_machine():
    features, positives = learnable()
    everything = Positives(
        np.arange(QUERIES + 1) * LABELS, np.tile(np.arange(LABELS, dtype=np.int32), QUERIES), np.ones(QUERIES * LABELS)
    )
    solver = SolverOptions(positive_weight=1.0, tolerance=1e-4, iterations=5000, prune=0.0)
    options = OneVsRestOptions(solver, rounds=0, summaries=0)
    weights = fit_one_vs_rest(features, positives, labels=LABELS, options=options, shortlist=everything)
    assert weights.shape == (LABELS, features.shape[1])
    assert weights[LABELS - 1].nnz == 0
    for label in range(LABELS - 1):
        relevant = [
            label in positives.label_rows[a:b] for a, b in zip(positives.offsets, positives.offsets[1:], strict=False)
        ]
        model = LinearSVC(tol=1e-6, max_iter=10**5, fit_intercept=False, dual=False).fit(features, relevant)
        np.testing.assert_allclose(weights[label].toarray()[0], model.coef_[0], atol=2e-3)


@pytest.mark.parametrize("loss", ["squared-hinge", "logistic"])
def test_labels_are_learned_with_any_number_of_threads(loss):
    features, positives = learnable()
    unseen_features, unseen = learnable(seed=1)
    told = []
    options = LinearHead(loss=loss, cluster_size=3, rounds=2, mined=3, summaries=8).resolved()
    one, other = (
        fit_one_vs_rest(
            features,
            positives,
            labels=LABELS,
            options=options,
            threads=threads,
            progress=lambda done, total: told.append((done, total)),
        )
        for threads in (1, 2)
    )
    assert (one != other).nnz == 0
    assert sorted(told) == sorted(2 * [(done, 3 * LABELS) for done in range(1, 3 * LABELS + 1)])
    assert precision_at_1(unseen_features, one, unseen) > 0.9


def test_mining_finds_the_negatives_that_clusters_miss():
    features, positives = learnable()
    unseen_features, unseen = learnable(seed=1)
    figures = [
        precision_at_1(
            unseen_features,
            fit_one_vs_rest(
                features,
                positives,
                labels=LABELS,
                options=LinearHead(cluster_size=1, rounds=rounds, summaries=0, mined=4).resolved(),
            ),
            unseen,
        )
        for rounds in (0, 2)
    ]
    assert figures[0] < 0.3 < 0.6 < figures[1]


def test_chunks_and_state_hold_the_weights():
    matrix = scipy.sparse.random(9000, 30, density=0.1, random_state=0, format="csr", dtype=np.float32)
    weights = LinearWeights(matrix)
    chunks = list(weights.label_vectors(np.arange(9000)))
    assert weights.query_map() is None
    assert [len(chunk) for chunk in chunks] == [4096, 4096, 808]
    assert torch.cat([chunk.to_dense() for chunk in chunks]).tolist() == matrix.toarray().tolist()
    chosen = np.array([5, 3])
    (part,) = weights.label_vectors(chosen)
    assert part.to_dense().tolist() == matrix[chosen].toarray().tolist()
    again = LinearWeights(scipy.sparse.csr_matrix((9000, 30), dtype=np.float32))
    again.load_state(weights.state())
    assert (again.weights_LF != matrix).nnz == 0
    with pytest.raises(ValueError, match="indices must be"):
        LinearWeights.from_state({**weights.state(), "shape": torch.tensor([9000, 3])})


def test_what_does_not_fit_together_is_refused():
    features, positives = learnable()
    with pytest.raises(DataError, match="positives of 200 queries"):
        fit_one_vs_rest(features[:9], positives, labels=LABELS, options=OneVsRestOptions())
    with pytest.raises(DataError, match="a shortlist of 1"):
        short = positives.take(np.array([0]))
        fit_one_vs_rest(features, positives, labels=LABELS, options=OneVsRestOptions(), shortlist=short)
    spoilt = features.copy()
    spoilt.data[features.indptr[7]] = np.inf
    with pytest.raises(DataError, match=r"a feature of query 7 \(counted from 0\) is inf; all must be finite"):
        fit_one_vs_rest(spoilt, positives, labels=LABELS, options=OneVsRestOptions())
    for wrong in ({"cluster_size": 0}, {"mined": 0}, {"rounds": -1}, {"summaries": -1}, {"summary_weight": -0.1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LinearHead(**wrong)
