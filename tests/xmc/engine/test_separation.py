"""Invariants: the reported AUC is that of every score computed by hand, found or not; asking for it changes no other
figure and no written hit; without being asked nothing is written."""

import json

import numpy as np
import pytest
import torch

import xmc
from xmc.data.dataset import load_dataset
from xmc.encode.encoder import embed_texts
from xmc.engine.index_rows import in_index, index_rows
from xmc.engine.separation import positive_scores, search_depth
from xmc.evaluate.auc import roc_auc
from xmc.evaluate.options import EvaluateOptions
from xmc.retrieve.batch import search_texts
from xmc.retrieve.query_checks import MAX_K
from xmc.retrieve.retriever import Retriever
from xmc.values import Positives

SETTINGS = ("evaluate.ks=[1, 3]", "evaluate.bootstrap_samples=0")


@pytest.fixture(scope="module")
def scored(tiny_run):
    """The retriever, test queries with positives in rows of the index, and all scores in float64."""
    retriever, data = Retriever.load(tiny_run), load_dataset("tiny")
    positives = in_index(data.test.positives, index_rows(data, retriever))
    queries_QD = retriever.encode(data.test.texts).double()
    labels_LD = embed_texts(retriever.encoder, retriever.labels.texts, "label").double()
    if retriever.report.similarity == "cosine":
        queries_QD, labels_LD = (torch.nn.functional.normalize(each, dim=1) for each in (queries_QD, labels_LD))
    return retriever, data.test.texts, positives, (queries_QD @ labels_LD.T).numpy()


def test_the_report_has_the_auc_of_all_scores_and_nothing_else_changes(tiny_run_copy, scored):
    _, _, positives, scores_QL = scored
    plain = xmc.evaluate_run(tiny_run_copy, settings=SETTINGS)
    hits = (tiny_run_copy / "hits" / "test.parquet").read_bytes()
    assert plain.auc is None and not list(tiny_run_copy.glob("roc.*"))
    report = xmc.evaluate_run(tiny_run_copy, settings=[*SETTINGS, "evaluate.auc_negatives=7"])
    assert report.overall == plain.overall and report.bands == plain.bands
    assert report.queries_with_short_hits == plain.queries_with_short_hits
    assert (tiny_run_copy / "hits" / "test.parquet").read_bytes() == hits
    right, wrong = [], []
    for row in range(len(positives)):
        relevant = positives.label_rows[positives.offsets[row] : positives.offsets[row + 1]]
        right += scores_QL[row, relevant].tolist()
        wrong += sorted(np.delete(scores_QL[row], relevant).tolist())[-7:]
    truth = roc_auc(np.float32(right), np.float32(wrong))
    assert report.auc.value == pytest.approx(truth, abs=1e-4)
    assert (report.auc.positives, report.auc.negatives) == (len(right), len(wrong))
    written = json.loads((tiny_run_copy / "report.json").read_text())["evaluation"]["auc"]
    assert written["value"] == report.auc.value and written["top_negatives"] == 7
    assert report.table()[-1]["figure"] == "AUC (top 7 negatives)" and report.table()[-1]["all"] == report.auc.value
    assert {path.name for path in tiny_run_copy.glob("roc.*")} == {"roc.csv", "roc.png"}


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_scores_of_positives_are_the_same_however_few_were_found(scored, k):
    retriever, texts, positives, scores_QL = scored
    hits = search_texts(retriever, texts, k=k)
    scores_P = positive_scores(retriever, texts, hits, positives)
    truth_P = scores_QL[positives.query_rows(), positives.label_rows]
    np.testing.assert_allclose(scores_P, truth_P, rtol=1e-5, atol=1e-6)


def test_scores_of_sparse_vectors_and_their_auc_and_exactness(tmp_path):
    settings = ["reranker.name=none", "encoder.minimum_count=1"]
    xmc.train_run("tiny", tmp_path / "run", plugin="linear", settings=settings)
    retriever, data = Retriever.load(tmp_path / "run"), load_dataset("tiny")
    positives = in_index(data.test.positives, index_rows(data, retriever))
    found, every = (search_texts(retriever, data.test.texts, k=k) for k in (1, 60))
    scores_P, truth_P = (positive_scores(retriever, data.test.texts, hits, positives) for hits in (found, every))
    np.testing.assert_allclose(scores_P, truth_P, rtol=1e-5, atol=1e-6)
    report = xmc.evaluate_run(tmp_path / "run", settings=["evaluate.ks=[1]", "evaluate.auc_negatives=1"])
    assert report.auc.positives == len(truth_P) and report.auc.value > 0.5
    checked = xmc.check_run(tmp_path / "run", ["exactness"], settings=["check.exactness.ks=[1, 60]"])
    figures = {name: figure.value for name, figure in checked.outcomes[0].figures.items()}
    assert (figures["exact_at_1"], figures["exact_at_60"], figures["wrong_proofs"]) == (1, 1, 0)


def test_the_search_goes_as_deep_as_the_most_positives_ask_and_no_deeper_than_allowed():
    positives = Positives(np.array([0, 1, 4]), np.array([5, 1, 2, 3], dtype=np.int32), np.ones(4, np.float32))
    assert search_depth(EvaluateOptions(ks=(1, 10)), positives, shortlist=30) == 10
    assert search_depth(EvaluateOptions(ks=(1, 10), auc_negatives=500), positives, shortlist=0) == 503
    assert search_depth(EvaluateOptions(ks=(1, 10), auc_negatives=5), positives, shortlist=30) == 30
    assert search_depth(EvaluateOptions(ks=(1, 1000), auc_negatives=500), positives, shortlist=30) == 1000
    assert search_depth(EvaluateOptions(auc_negatives=10_000), positives, shortlist=30) == MAX_K
