"""What does a linear classifier of a label take? Newton's method for many labels at once, beside scikit-learn's.

    python benchmarks/bench_linear_fit.py [--labels 2000] [--threads 2] [--repeats 3]

Texts are those of the shipped ICD-10-CM data as TF-IDF vectors; each label has positives and negatives drawn from them.
scikit-learn (liblinear) fits the same problems one after the other, with the same stop; `excess` is how far the
objectives are above the least ones, on the average of 20 labels.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from record import alternate, record, spread
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from xmc.data.dataset import load_dataset
from xmc.encode.word_bags import BlockOptions, WordBags
from xmc_linear.bags import bag_matrix
from xmc_linear.blocks import Problem, side_by_side
from xmc_linear.newton import logistic, squared_hinge
from xmc_linear.one_vs_rest import Fitted, SolverOptions, fit_labels

RESULTS = Path(__file__).parent / "results" / "linear_fit.csv"
SIZES = ((8, 262), (100, 2000))  # positives and negatives of a label
COSTS = {"logistic": 10.0, "squared-hinge": 1.0}
LOSSES = {"logistic": logistic, "squared-hinge": squared_hinge}
JUDGED = 20


def features_of_texts() -> Any:
    """TF-IDF vectors of words and pairs, float64 CSR."""
    data = load_dataset("icd10cm")
    texts = [*data.train.texts, *data.labels.texts]
    return bag_matrix(WordBags.learn_and_transform(texts, BlockOptions())[1]).astype(np.float64)


def by_scikit_learn(features_NF: Any, problems: list[Problem], options: SolverOptions) -> list[np.ndarray[Any, Any]]:
    """The weights over all features that occur in a label's rows, as its solver is called by hand."""
    shared = {"C": options.cost, "tol": options.tolerance, "max_iter": options.iterations, "fit_intercept": False}
    found = []
    for problem in problems:
        blocks = side_by_side(features_NF, [problem])
        if options.loss == "logistic":
            model = LogisticRegression(solver="liblinear", **shared)
        else:
            model = LinearSVC(dual=False, **shared)
        found.append(model.fit(blocks.rows_NU, blocks.signs_N > 0).coef_.ravel())
    return found


def objectives(
    features_NF: Any, problems: list[Problem], found: list[Any], options: SolverOptions
) -> np.ndarray[Any, Any]:
    """1/2 |w|^2 + cost · sum of losses of each label; answers of `fit_labels`, or weights of all features."""
    values = []
    for problem, one in zip(problems, found, strict=True):
        blocks = side_by_side(features_NF, [problem])
        weights = one
        if isinstance(one, Fitted):
            weights = np.zeros(len(blocks.features_U))
            weights[np.searchsorted(blocks.features_U, one.features)] = one.weights
        losses_N = LOSSES[options.loss](blocks.signs_N * (blocks.rows_NU @ weights)).value
        values.append(0.5 * weights @ weights + options.cost * losses_N.sum())
    return np.array(values)


def rows_of(features_NF: Any, loss: str, size: tuple[int, int], args: argparse.Namespace) -> list[dict[str, object]]:
    """Times of both, and what their answers are short of."""
    generator, positives = np.random.default_rng(0), size[0]
    drawn = [generator.choice(features_NF.shape[0], sum(size), replace=False) for _ in range(args.labels)]
    problems = [Problem(rows[:positives], rows[positives:]) for rows in drawn]
    options = SolverOptions(loss, COSTS[loss], positive_weight=1.0, tolerance=0.1, iterations=10, prune=0.0)

    def fit(some: list[Problem], options: SolverOptions) -> list[Fitted]:
        ones_N = np.ones(features_NF.shape[0])
        return fit_labels(
            features_NF, ones_N, some.__getitem__, labels=len(some), options=options, threads=args.threads
        )

    subjects: dict[str, Callable[[], object]] = {
        "scikit-learn": partial(by_scikit_learn, features_NF, problems, options),
        "xmc newton": partial(fit, problems, options),
    }
    seconds = alternate(subjects, repeats=args.repeats, warmups=1)
    some = problems[:JUDGED]
    least = objectives(features_NF, some, fit(some, replace(options, tolerance=1e-8, iterations=1000)), options)
    answers = {"scikit-learn": by_scikit_learn(features_NF, some, options), "xmc newton": fit(some, options)}
    shared = {"x": sum(size), "baseline": "scikit-learn", "threads": args.threads}
    question = f"a label's classifier, {loss}"
    config = f"labels={args.labels} positives={positives} cost={options.cost} tolerance=0.1 iterations=10"
    times, base = [], spread(seconds["scikit-learn"])[0]
    for name, own in seconds.items():
        median, p20, p80 = (round(1000 * value / args.labels, 4) for value in spread(own))
        ratio = round(base / spread(own)[0], 2)
        times.append({"question": question, "subject": name, "median": median, "p20": p20, "p80": p80, "ratio": ratio})
    excess = [
        {
            "question": f"{question}, excess",
            "subject": name,
            "median": f"{np.mean(objectives(features_NF, some, own, options) / least - 1):.2e}",
            "unit": "of the objective",
        }
        for name, own in answers.items()
    ]
    return [{"unit": "ms a label", **row, **shared, "config": config} for row in (*times, *excess)]


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    features_NF = features_of_texts()
    cases = itertools.product(COSTS, SIZES)
    rows = [row for loss, size in cases for row in rows_of(features_NF, loss, size, args)]
    record(RESULTS, rows)
    for row in rows:
        print(row["question"], row["x"], row["subject"], row["median"], row["unit"], row.get("ratio", ""))


if __name__ == "__main__":
    main()
