"""Invariants: margins are dot products whatever else is asked; the reranker separates what its shortlists confuse and
stays neutral where it knows nothing; bags become the matrix they stand for; a run with it is as any other."""

import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

import xmc
from xmc.api import ConfigError, HeadContext, Hits, Positives, RerankContext, RerankQueries
from xmc_linear import reranker
from xmc_linear.bags import bag_matrix
from xmc_linear.head import Centroids, LinearHead
from xmc_linear.reranker import LinearReranker, pair_margins
from xmc_linear.tfidf import CONSTANT, inverse_frequencies, tfidf_matrix

LABELS = 6


def bags_of(matrix):
    matrix = csr_matrix(matrix)
    return SimpleNamespace(offsets=matrix.indptr.astype(np.int64), ids=matrix.indices, weights=matrix.data)


def every_label(queries, labels=LABELS):
    offsets = np.arange(queries + 1, dtype=np.int64) * labels
    return Hits(offsets, np.tile(np.arange(labels), queries), np.zeros(queries * labels, np.float32))


def learnable(queries=120):
    """Query i has label i mod 5 (label 5 has no query), its word, noise and a constant."""
    generator = np.random.default_rng(0)
    features = (generator.random((queries, 12)) < 0.2).astype(np.float32) * 0.2
    label_rows = np.arange(queries) % (LABELS - 1)
    features[np.arange(queries), label_rows] = 1.0
    features[:, -1] = 1.0
    positives = Positives(np.arange(queries + 1), label_rows.astype(np.int32), np.ones(queries, np.float32))
    return features, positives


def context(features, positives, shortlist):
    queries = RerankQueries([""] * len(positives), bags_of(features))
    return RerankContext(queries, positives, lambda: shortlist, [f"l{row}" for row in range(LABELS)])


@given(st.integers(0, 30), st.integers(1, 6), st.integers(0, 5), st.sampled_from([1, 8, 1 << 20]))
def test_margins_are_dot_products_whatever_else_is_asked(seed, queries, k, numbers_at_once):
    generator = np.random.default_rng(seed)
    x = scipy.sparse.random(queries, 9, 0.4, "csr", np.float32, random_state=seed)
    w = scipy.sparse.random(LABELS, 9, 0.4, "csr", np.float32, random_state=seed + 99)
    label_rows = np.concatenate([generator.choice(LABELS, k, replace=False) for _ in range(queries)]).astype(np.int64)
    hits = Hits(np.arange(queries + 1) * k, label_rows, np.zeros(queries * k, np.float32))
    dense = (x @ w.T).toarray()
    expected = [dense[query, label] for query in range(queries) for label in label_rows[query * k : (query + 1) * k]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reranker, "NUMBERS_AT_ONCE", numbers_at_once)
        margins = pair_margins(x, w, hits)
    np.testing.assert_allclose(margins, expected, rtol=1e-5, atol=1e-6)
    for hit, (query, label) in enumerate(zip(hits.query_rows(), label_rows, strict=True)):
        alone = Hits(np.array([0, 1]), np.array([label]), np.zeros(1, np.float32))
        assert pair_margins(x[query], w, alone)[0] == margins[hit]


def test_the_reranker_separates_what_it_was_shown_and_is_neutral_elsewhere(tmp_path):
    features, positives = learnable()
    told = []
    options = LinearReranker(threads=2, prune=0.0)
    fitted = options.fit(
        context(features, positives, every_label(120)), progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (LABELS, LABELS)
    queries, hits = RerankQueries([""] * 120, bags_of(features)), every_label(120)
    scores = fitted.scores(queries, hits).reshape(120, LABELS)
    assert (scores[:, :5].argmax(axis=1) == positives.label_rows).all()
    assert set(scores[:, 5].tolist()) == {np.float32(fitted.neutral)}
    assert fitted.neutral == pytest.approx(scores[:, :5].mean(), abs=1e-5)
    few = Hits(np.array([0, 2]), np.array([3, 5]), np.zeros(2, np.float32))
    alone = fitted.scores(RerankQueries([""], bags_of(features[:1])), few)
    assert alone.tolist() == scores[0, [3, 5]].tolist()
    fitted.save(tmp_path)
    again = options.load(tmp_path)
    assert np.array_equal(again.scores(queries, hits), scores.ravel())


def test_counts_are_made_tfidf_vectors_of_length_1_and_a_constant():
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 4, (20, 6)) * (generator.random((20, 6)) < 0.5)
    counts[3] = 0
    inverse = inverse_frequencies(csr_matrix(counts, dtype=np.float32))
    found = tfidf_matrix(csr_matrix(counts, dtype=np.float32), inverse).toarray()
    for row, own in zip(counts, found, strict=True):
        queries = (counts > 0).sum(axis=0)
        wanted = np.array([np.log(1 + row[f]) * (np.log(21 / (1 + queries[f])) + 1) for f in range(6)])
        np.testing.assert_allclose(own[:-1], wanted / max(np.linalg.norm(wanted), 1e-30), rtol=1e-5, atol=1e-7)
    assert (found[:, -1] == np.float32(CONSTANT)).all()


def test_inverse_frequencies_are_kept_with_the_weights(tmp_path):
    features, positives = learnable()
    options = LinearReranker(inverse_frequency=True, loss="logistic", solver="newton", cost=10.0)
    fitted = options.fit(context(features, positives, every_label(120)), progress=lambda done, total: None)
    queries, hits = RerankQueries([""] * 120, bags_of(features)), every_label(120)
    scores = fitted.scores(queries, hits)
    assert (scores.reshape(120, LABELS)[:, :5].argmax(axis=1) == positives.label_rows).all()
    fitted.save(tmp_path)
    assert np.array_equal(options.load(tmp_path).scores(queries, hits), scores)
    alone = fitted.scores(RerankQueries([""], bags_of(features[7:8])), every_label(1))
    assert alone.tolist() == scores[7 * LABELS : 8 * LABELS].tolist()
    longer = bags_of(np.hstack([features, np.ones((120, 3), np.float32)]))  # words that training never saw
    assert np.array_equal(fitted.scores(RerankQueries([""] * 120, longer), hits), scores)


@pytest.mark.parametrize("solver", ["dual", "newton"])
def test_any_number_of_threads_gives_the_same_answer(solver):
    features, positives = learnable()
    one, other = (
        LinearReranker(threads=threads, solver=solver).fit(
            context(features, positives, every_label(120)), progress=lambda done, total: None
        )
        for threads in (1, 3)
    )
    assert (one.weights.weights_LF != other.weights.weights_LF).nnz == 0


def test_as_many_threads_as_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    features, positives = learnable()
    others, most = threading.active_count(), []
    LinearReranker(solver="newton").fit(
        context(features, positives, every_label(120)),
        progress=lambda done, total: most.append(threading.active_count() - others),
    )
    assert max(most) == 1


def test_the_dual_solver_is_for_the_squared_hinge():
    with pytest.raises(ValueError, match="solver = 'newton'"):
        LinearReranker(loss="logistic")
    assert LinearReranker(loss="logistic", solver="newton").loss == "logistic"


def test_bags_with_empty_rows_and_ids_never_seen():
    matrix = csr_matrix(np.array([[0, 0, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0], [0, 3, 0, 4], [0, 0, 0, 0]], np.float32))
    assert (bag_matrix(bags_of(matrix)) != matrix).nnz == 0
    assert bag_matrix(bags_of(matrix), features=3).toarray().tolist() == matrix.toarray()[:, :3].tolist()
    assert bag_matrix(bags_of(csr_matrix((0, 4))), features=4).shape == (0, 4)
    with pytest.raises(ConfigError, match="bags of words") as caught:
        bag_matrix([1, 2])
    assert "tfidf" in caught.value.hint


def test_centroids_are_means_of_length_one_cut_to_their_largest_entries():
    features, positives = learnable()
    features *= np.linspace(1.0, 1.3, features.shape[1], dtype=np.float32)  # no two entries of a mean are equal
    context = HeadContext(labels=LABELS, dimension=features.shape[1], similarity="dot")
    head = Centroids(entries=3).fit(context, bags_of(features), positives, progress=lambda done, total: None)
    rows = head.weights_LF.toarray()
    for label in range(LABELS - 1):
        mean = features[positives.label_rows == label].mean(axis=0)
        kept = np.where(mean >= np.sort(mean)[-3], mean, 0.0)
        np.testing.assert_allclose(rows[label], kept / np.linalg.norm(kept), rtol=1e-4)
    assert not rows[LABELS - 1].any()


@pytest.mark.parametrize(
    ("cls", "options"), [(LinearReranker, {"threads": -1}), (LinearHead, {"threads": -1}), (Centroids, {"entries": 0})]
)
def test_wrong_options(cls, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        cls(**options)


@pytest.mark.parametrize("recipe", ["linear", "linear.fused", "linear.fused-short"])
def test_a_recipe_trains_reranks_and_evaluates(tmp_path, recipe):
    report = xmc.train_run("tiny", tmp_path / "run", plugin=recipe)
    assert report["rerank"]["reranker"] == "linear.one-vs-rest"
    figures = xmc.evaluate_run(tmp_path / "run", settings=["evaluate.auc_negatives=20"])
    assert figures.overall.figures["P@1"].value > 0.9
    assert figures.auc.value > 0.9
    retriever = xmc.Retriever.load(tmp_path / "run")
    assert retriever.search(["fog"], k=2)[0][0].rank == 1


def test_the_head_alone_is_a_run_too(tmp_path):
    settings = ["head.name=linear.one-vs-rest", "reranker.name=none"]
    report = xmc.train_run("tiny", tmp_path / "run", plugin="linear", settings=settings)
    figures = xmc.evaluate_run(tmp_path / "run", split="dev").overall.figures
    assert report["best_validation_p1"] == pytest.approx(figures["P@1"].value)
    assert figures["P@1"].value > 0.9


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("loss.name=baselines.info-nce", r"\[loss\] \(baselines\.info-nce\)"),
        ("loss.temperature=0.5", r"\[loss\] \(dexml\.decoupled-softmax\)"),
        ("train.epochs=9", r"train\.epochs"),
        ("optimizer.name=sgd", r"\[optimizer\] \(sgd\)"),
    ],
)
def test_what_a_fit_in_one_go_would_not_read_is_refused(setting, named, tmp_path):
    with pytest.raises(ConfigError, match=f"fitted in one go.*does not use {named}"):
        xmc.train_run("tiny", tmp_path / "run", plugin="linear", settings=[setting])
