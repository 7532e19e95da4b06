"""What the scripts of the peers read and write: the same queries as xmc, and answers that xmc judges.

Invariants: a peer sees the texts and positives that `load_dataset` gives; a saved TF-IDF gives the features of the one
that was fitted; answers come best first; the right answers score 1; answers to other queries are refused.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from xmc.data.dataset import load_dataset
from xmc.data.named import named_folder

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "peers")]

import corpus  # noqa: E402
from bench_best_recipe import judged, served_mb, with_ratios  # noqa: E402

TINY = named_folder("tiny")


def test_a_split_is_what_xmc_reads():
    data, split = load_dataset("tiny"), corpus.read_split(TINY, "train")
    assert split.ids == data.train.ids
    assert split.texts == data.train.texts
    offsets = data.train.positives.offsets
    for row in range(len(split.ids)):
        found = split.positives_QL[row].indices.tolist()
        assert sorted(found) == sorted(data.train.positives.label_rows[offsets[row] : offsets[row + 1]].tolist())


def test_queries_without_text_or_positives_are_left_out(tmp_path):
    for table in ("labels", "train"):
        pq.write_table(pq.read_table(TINY / f"{table}.parquet"), tmp_path / f"{table}.parquet")
    table = pq.read_table(tmp_path / "train.parquet")
    columns = table.to_pydict()
    columns["text"][0], columns["positives"][2] = " ", []
    pq.write_table(pa.table(columns, schema=table.schema.remove_metadata()), tmp_path / "train.parquet")
    split = corpus.read_split(tmp_path, "train")
    assert split.ids == load_dataset(tmp_path).train.ids
    assert len(split.ids) == table.num_rows - 2


def test_a_saved_tfidf_is_the_fitted_one(tmp_path):
    texts = load_dataset("tiny").train.texts
    fitted_QF = corpus.fitted_tfidf(texts, tmp_path).transform(texts)
    saved_QF = corpus.saved_tfidf(tmp_path).transform(texts)
    np.testing.assert_allclose(saved_QF.toarray(), fitted_QF.toarray(), rtol=1e-5)


def test_answers_come_best_first_in_label_rows():
    scores_QL = sp.csr_matrix(np.array([[0.2, 0.0, 0.9], [0.0, 0.5, 0.5]]))
    (rows, scores), (tied, _) = corpus.ranked(scores_QL, np.array([4, 7, 9]))
    assert rows.tolist() == [9, 4]
    assert scores.tolist() == [0.9, 0.2]
    assert tied.tolist() == [7, 9]


def test_right_answers_score_one_and_others_are_refused(tmp_path):
    data, split = load_dataset("tiny"), corpus.read_split(TINY, "test")
    answers = [(row.indices, row.data) for row in split.positives_QL]
    corpus.write_answers(tmp_path / "answers.npz", split, answers)
    report = judged(tmp_path / "answers.npz", data, "test")
    assert report["overall"]["figures"]["P@1"]["value"] == 1.0
    assert report["overall"]["figures"]["R@100"]["value"] == 1.0
    with pytest.raises(SystemExit, match="queries"):
        judged(tmp_path / "answers.npz", data, "train")


def test_a_ratio_is_the_baseline_over_the_subject():
    rows = [
        {"subject": "Omikuji Bonsai", "x": "train wall", "median": 10.0, "unit": "s"},
        {"subject": "xmc", "x": "train wall", "median": 4.0, "unit": "s"},
        {"subject": "xmc", "x": "P@1", "median": 90.0, "unit": "%"},
    ]
    assert [row.get("ratio") for row in with_ratios(rows)] == ["1.00", "2.50", None]


def test_the_size_of_a_run_is_that_of_the_newest_versions(tmp_path):
    for path, size in (
        ("checkpoint/v000003/a", 5),
        ("encoder/v000001/a", 7),
        ("encoder/v000002/q/a", 11),
        ("index/v000009/a", 13),
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(bytes(size * 1000))
        (tmp_path / path.split("/")[0] / "CURRENT").write_text("", encoding="utf-8")
    (tmp_path / "hits").mkdir()
    assert served_mb(tmp_path) == pytest.approx(0.024)
