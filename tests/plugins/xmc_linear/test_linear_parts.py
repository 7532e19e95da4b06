"""Invariants: clusters are balanced and pure; shortlists, best labels and summaries equal loops."""

import numpy as np
import pytest
import scipy.sparse
import torch

from xmc.api import Positives
from xmc_linear.clusters import balanced_clusters
from xmc_linear.matrices import relevance_matrix
from xmc_linear.scoring import best_labels
from xmc_linear.shortlists import listed, matched_shortlist, negatives, of_rows
from xmc_linear.summaries import summarise


@pytest.mark.parametrize(("count", "most"), [(1, 4), (37, 4), (64, 16), (5, 8)])
def test_clusters_are_balanced(count, most):
    vectors = np.random.default_rng(0).standard_normal((count, 8)).astype(np.float32)
    sizes = np.bincount(balanced_clusters(vectors, most=most, seed=0))
    assert sizes.max() <= most
    assert sizes.max() - sizes.min() <= 1
    assert sizes.sum() == count


def grouped(queries_each=12, groups=4, labels_each=3):
    """Queries of a group share features and labels; label 12 has no query."""
    generator = np.random.default_rng(0)
    rows, label_rows = [], []
    for group in range(groups):
        for number in range(queries_each):
            row = np.zeros(groups * 5, np.float32)
            row[group * 5 : group * 5 + 5] = generator.uniform(0.5, 1.0, 5)
            rows.append(row)
            label_rows.append(group * labels_each + number % labels_each)
    offsets = np.arange(len(rows) + 1)
    positives = Positives(offsets, np.array(label_rows, np.int32), np.ones(len(rows), np.float32))
    return scipy.sparse.csr_matrix(np.array(rows)), positives


def test_matched_labels_are_those_of_the_same_group():
    features, positives = grouped()
    relevance = relevance_matrix(positives, labels=13)
    shortlist = matched_shortlist(features, relevance, cluster_size=3, seed=0).toarray()
    for query, (row, label) in enumerate(zip(shortlist, positives.label_rows, strict=True)):
        group = label // 3
        assert np.flatnonzero(row).tolist() == [3 * group, 3 * group + 1, 3 * group + 2], query
    none = relevance_matrix(Positives(np.zeros(49, int), np.zeros(0, np.int32), np.zeros(0, np.float32)), labels=13)
    assert matched_shortlist(features, none, cluster_size=3, seed=0).nnz == 0


def test_negatives_are_the_shortlist_less_the_positives():
    shortlist = listed(np.array([[0, 2], [1, 2]]), labels=3) + of_rows([np.array([1]), np.array([0]), []], queries=2)
    relevance = scipy.sparse.csr_matrix([[1, 0, 0], [0, 0, 3.0]])
    assert negatives(shortlist, relevance).toarray().tolist() == [[0, 1, 1], [1, 1, 0]]


def test_best_labels_equal_a_loop_and_leave_the_threads_of_torch_alone():
    features = scipy.sparse.random(150, 40, density=0.3, random_state=1, format="csr")
    weights = scipy.sparse.random(30, 40, density=0.3, random_state=2, format="lil")
    weights[7] = 0
    weights = -abs(weights.tocsr())
    weights.eliminate_zeros()
    before = torch.get_num_threads()
    found = best_labels(features, weights.astype(np.float32), k=5, threads=2)
    assert torch.get_num_threads() == before
    for row, labels in zip(features.toarray(), found, strict=True):
        scores = [float(row @ weight) if weight.any() else -np.inf for weight in weights.toarray()]
        assert min(scores[label] for label in labels) >= sorted(scores)[-5] - 1e-5
        assert 7 not in labels
        assert len(set(labels)) == 5
    assert best_labels(features[:0], weights, k=99, threads=1).shape == (0, 30)


def test_summaries_are_the_means_of_their_queries():
    features, _ = grouped()
    means, counts, summary = summarise(features, count=6, features=99, seed=0)
    assert counts.sum() == features.shape[0]
    assert counts.tolist() == np.bincount(summary).tolist()
    for number, mean in enumerate(means.toarray()):
        np.testing.assert_allclose(mean, features.toarray()[summary == number].mean(axis=0), atol=1e-6)
    short, _, _ = summarise(features, count=6, features=2, seed=0)
    assert np.diff(short.indptr).max() == 2
    assert summarise(features[:3], count=6, features=2, seed=0).counts_S.sum() == 3
