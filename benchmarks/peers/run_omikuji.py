"""Omikuji's Bonsai-like trees on an imported data set, as two commands: train MODEL, and predict with it.

    python run_omikuji.py train --data FOLDER --model FOLDER [--tfidf words|characters] [--trees 3]
    python run_omikuji.py predict --data FOLDER --model FOLDER --split dev --out FILE.npz [--beam 10] [--threads N]

Bonsai: shallow trees of 100 unbalanced branches a node. The rest is as Omikuji sets it. Its predict takes one query a
call and lets other threads run meanwhile.
"""

from __future__ import annotations

import argparse
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import omikuji
import scipy.sparse as sp
from corpus import (
    FEATURES,
    TOP_K,
    Stages,
    fitted_tfidf,
    read_split,
    saved_tfidf,
    seen_labels,
    write_answers,
    write_report,
)
from sklearn.datasets import dump_svmlight_file

VERSIONS = ("omikuji", "numpy", "scipy", "scikit-learn")


def train(options: argparse.Namespace) -> None:
    """Vectorise, write the training file, train, save."""
    stages = Stages()
    options.model.mkdir(parents=True)
    file = options.model / "train.svm"
    features, labels = _prepare(options, file, stages)  # texts and features are forgotten again
    settings = omikuji.Model.default_hyper_param()
    settings.n_trees = options.trees
    settings.cluster_balanced, settings.cluster_k, settings.max_depth = False, 100, 3
    model = omikuji.Model.train_on_data(str(file), settings, options.threads)
    file.unlink()
    model.save(str(options.model / "trees"))
    np.save(options.model / "labels.npy", labels)
    stages.done("train")
    facts = {"features": features, "labels": len(labels), **stages.seconds}
    write_report(options.model / "train.json", versions=VERSIONS, **facts)


def _prepare(options: argparse.Namespace, file: Path, stages: Stages) -> tuple[int, np.ndarray]:
    """Write the training file; the number of features, and the label rows that the file's labels are."""
    split = read_split(options.data, "train")
    labels = seen_labels(split.positives_QL)
    stages.done("read")
    features_QF = fitted_tfidf(split.texts, options.model, options.tfidf).transform(split.texts)
    stages.done("vectorise")
    _write_training_file(file, features_QF, split.positives_QL[:, labels])
    stages.done("write")
    return features_QF.shape[1], labels


def _write_training_file(path: Path, features_QF: sp.csr_matrix, positives_QL: sp.csr_matrix) -> None:
    """The format of the Extreme Classification Repository; a query without a feature would be a parse error."""
    kept = np.flatnonzero(np.diff(features_QF.indptr))
    with path.open("wb") as file:
        file.write(f"{len(kept)} {features_QF.shape[1]} {positives_QL.shape[1]}\n".encode())
        dump_svmlight_file(features_QF[kept], positives_QL[kept], file, multilabel=True, zero_based=True)


def predict(options: argparse.Namespace) -> None:
    """Vectorise and answer the whole split, one query a call, from as many threads as asked for."""
    vectorizer = saved_tfidf(options.model)
    model = omikuji.Model.load(str(options.model / "trees"))
    model.init_prediction_thread_pool(options.threads)
    labels = np.load(options.model / "labels.npy")
    split = read_split(options.data, options.split)
    stages = Stages()
    features_QF = vectorizer.transform(split.texts)

    def answer(query: int) -> tuple[np.ndarray, np.ndarray]:
        span = slice(features_QF.indptr[query], features_QF.indptr[query + 1])
        pairs = list(zip(features_QF.indices[span].tolist(), features_QF.data[span].tolist(), strict=True))
        found = model.predict(pairs, beam_size=options.beam, top_k=TOP_K)
        columns, scores = zip(*found, strict=True) if found else ((), ())
        return labels[np.array(columns, np.int64)], np.array(scores, np.float32)

    with ThreadPool(options.threads) as pool:
        answers = pool.map(answer, range(len(split.ids)), chunksize=64)
    stages.done("predict")
    write_answers(options.out, split, answers)
    write_report(options.out.with_suffix(".json"), versions=VERSIONS, queries=len(split.ids), **stages.seconds)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "predict"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tfidf", choices=tuple(FEATURES), default="words")
    parser.add_argument("--trees", type=int, default=3)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--beam", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    (train if options.verb == "train" else predict)(options)


if __name__ == "__main__":
    main()
