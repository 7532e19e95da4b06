"""ICD-10-CM, the quickstart: quality and time beside lexical baselines, on the data set that ships.

    python benchmarks/bench_icd10cm.py [WORK_FOLDER]

A lexical baseline answers with the codes of the nearest texts, titles and training terms, by TF-IDF cosine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from quality import cost_rows, percent, quality_rows, run_subject, xmc
from record import record

from xmc.data.dataset import Dataset, load_dataset
from xmc.evaluate.options import EvaluateOptions
from xmc.evaluate.report import evaluate_hits
from xmc.values import Hits

QUESTION = "ICD-10-CM quickstart"
FIGURES = ("P@1", "R@10", "R@100", "nDCG@10", "MRR@10")
QUERIES = ("type 2 diabetes with kidney damage", "allergy to peanuts", "swimmers ear")
BASELINES = {
    "character 3-5-gram TF-IDF": {"analyzer": "char", "ngram_range": (3, 5)},
    "word TF-IDF": {"analyzer": "word", "token_pattern": r"\w+"},
}


def lexical_hits(data: Dataset, options: dict[str, object], k: int) -> Hits:
    """The k best codes of each test query: a code scores as its nearest text does."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options)
    texts_TF = vectorizer.fit_transform([*data.labels.texts, *data.train.texts])
    owners_T = np.concatenate((np.arange(len(data.labels)), data.train.positives.label_rows))
    # a training term with two codes stands for each of them
    rows_T = np.concatenate((np.arange(len(data.labels)), len(data.labels) + data.train.positives.query_rows()))
    queries_QF = vectorizer.transform(data.test.texts)
    label_rows, scores = [], []
    for start in range(0, queries_QF.shape[0], 256):
        similarity_QT = (queries_QF[start : start + 256] @ texts_TF.T).toarray()[:, rows_T]
        best_QL = similarity_QT[:, : len(data.labels)].copy()
        for column in range(len(data.labels), len(owners_T)):
            owner = owners_T[column]
            np.maximum(best_QL[:, owner], similarity_QT[:, column], out=best_QL[:, owner])
        order = np.argsort(-best_QL, axis=1, kind="stable")[:, :k]
        label_rows.append(order.ravel())
        scores.append(np.take_along_axis(best_QL, order, axis=1).ravel())
    offsets = np.arange(queries_QF.shape[0] + 1, dtype=np.int64) * k
    return Hits(offsets, np.concatenate(label_rows), np.concatenate(scores))


def baseline_rows(data: Dataset) -> list[dict[str, object]]:
    """Figures of each lexical baseline."""
    rows: list[dict[str, object]] = []
    for name, options in BASELINES.items():
        started = time.perf_counter()
        report = evaluate_hits(
            lexical_hits(data, options, 100),
            data.test.positives,
            train_counts_L=data.train_counts(),
            train_queries=len(data.train),
            options=EvaluateOptions(),
        )
        seconds = time.perf_counter() - started
        for figure in FIGURES:
            found = report.overall.figures[figure]
            numbers = {"median": percent(found.value), "low95": percent(found.low), "high95": percent(found.high)}
            rows.append({"question": QUESTION, "subject": name, "x": figure, "unit": "%", **numbers})
        rows.append({"question": QUESTION, "subject": name, "x": "wall", "median": round(seconds, 1), "unit": "s"})
    return rows


def main(work: Path) -> None:
    """Write results/icd10cm.csv."""
    rows = baseline_rows(load_dataset("icd10cm"))
    started = time.perf_counter()
    subject = run_subject("dexml", data="icd10cm", plugin="dexml", work=work)
    for query in QUERIES:
        xmc("search", query, "--run", str(work / "run-dexml"), "-k", "3")
    wall_s = time.perf_counter() - started
    rows += quality_rows(subject, QUESTION, FIGURES, baseline="character 3-5-gram TF-IDF")
    for band in ("torso", "tail", "zero-shot"):
        rows += quality_rows(subject, QUESTION, ("P@1", "R@10", "R@100"), group=band)
    rows += cost_rows(subject, QUESTION)
    whole = {"x": "train, evaluate and three searches, wall", "median": round(wall_s, 1), "unit": "s"}
    rows.append({"question": QUESTION, "subject": "dexml", **whole, "config": subject.config})
    record(Path(__file__).parent / "results" / "icd10cm.csv", rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary))
