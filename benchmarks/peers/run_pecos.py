"""PECOS XR-Linear on an imported data set, as two commands: train MODEL, and predict with it.

    python run_pecos.py train --data FOLDER --model FOLDER [--tfidf own|words|characters] [--threads N]
    python run_pecos.py predict --data FOLDER --model FOLDER --split dev --out FILE.npz [--beam 10] [--threads N]

Everything else is as PECOS sets it: PIFA label features, hierarchical 2-means with 16 branches, leaves of 100 labels.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from corpus import (
    FEATURES,
    TOP_K,
    Stages,
    fitted_tfidf,
    ranked,
    read_split,
    saved_tfidf,
    seen_labels,
    write_answers,
    write_report,
)
from pecos.utils.featurization.text.vectorizers import Tfidf
from pecos.xmc import Indexer, LabelEmbeddingFactory
from pecos.xmc.xlinear.model import XLinearModel

VERSIONS = ("libpecos", "numpy", "scipy", "scikit-learn")


def train(options: argparse.Namespace) -> None:
    """Vectorise, cluster the labels, train, save."""
    stages = Stages()
    split = read_split(options.data, "train")
    labels = seen_labels(split.positives_QL)
    options.model.mkdir(parents=True)
    stages.done("read")
    if options.tfidf == "own":
        texts = _one_line_each(split.texts)
        vectorizer = Tfidf.train(texts, {"sublinear_tf": True, "min_df_cnt": 2, "threads": options.threads})
        vectorizer.save(str(options.model / "tfidf"))
        features_QF = vectorizer.predict(texts, threads=options.threads)
    else:
        features_QF = fitted_tfidf(split.texts, options.model, options.tfidf).transform(split.texts)
    features_QF = sp.csr_matrix(features_QF, dtype=np.float32)
    stages.done("vectorise")
    positives_QL = sp.csc_matrix(split.positives_QL[:, labels], dtype=np.float32)
    label_features_LF = LabelEmbeddingFactory.create(positives_QL, features_QF, method="pifa")
    clusters = Indexer.gen(label_features_LF, threads=options.threads)
    model = XLinearModel.train(features_QF, positives_QL, C=clusters, threads=options.threads)
    model.save(str(options.model / "xlinear"))
    np.save(options.model / "labels.npy", labels)
    stages.done("train")
    facts = {"tfidf": options.tfidf, "features": features_QF.shape[1], "labels": len(labels), **stages.seconds}
    write_report(options.model / "train.json", versions=VERSIONS, **facts)


def predict(options: argparse.Namespace) -> None:
    """Vectorise and answer the whole split as one batch."""
    own = json.loads((options.model / "train.json").read_text(encoding="utf-8"))["tfidf"] == "own"
    vectorizer = Tfidf.load(str(options.model / "tfidf")) if own else saved_tfidf(options.model)
    model = XLinearModel.load(str(options.model / "xlinear"), is_predict_only=True)
    labels = np.load(options.model / "labels.npy")
    split = read_split(options.data, options.split)
    stages = Stages()
    if own:
        features_QF = vectorizer.predict(_one_line_each(split.texts), threads=options.threads)
    else:
        features_QF = vectorizer.transform(split.texts)
    features_QF = sp.csr_matrix(features_QF, dtype=np.float32)
    features_QF.sort_indices()
    scores_QL = model.predict(features_QF, beam_size=options.beam, only_topk=TOP_K, threads=options.threads)
    answers = ranked(scores_QL, labels)
    stages.done("predict")
    write_answers(options.out, split, answers)
    write_report(options.out.with_suffix(".json"), versions=VERSIONS, queries=len(split.ids), **stages.seconds)


def _one_line_each(texts: list[str]) -> list[str]:
    """A word with a line break in it would make the vocabulary that PECOS saves unreadable."""
    return [" ".join(text.split()) for text in texts]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "predict"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tfidf", choices=("own", *FEATURES), default="own")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--beam", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    (train if options.verb == "train" else predict)(options)


if __name__ == "__main__":
    main()
