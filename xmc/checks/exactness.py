"""`xmc check exactness`: how many answers of the index are the true top k, and of how many that is proven.

Shapes: Q queries, E width of an index vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.check_contract import Better, CheckContext, CheckFigure, CheckResult, CheckRetriever
from xmc.checks.brute_force import found_shares, index_space
from xmc.checks.intervals import mean_figures
from xmc.counted import counted
from xmc.errors import ConfigError, DataError
from xmc.index_contract import CertifyingIndex
from xmc.values import Hits

if TYPE_CHECKING:
    from torch import Tensor

BOOTSTRAP_SAMPLES = 1000


@dataclass(frozen=True)
class Exactness:
    """Compare the answers to `sample` queries with the scores of every label, and count those that are proven exact.

    An answer is proven when the index is exact by construction, or when its backend certifies it: an index may offer
    `search_certified(queries, k) -> (hits, exact_Q)`. A label whose score is within 1e-5 of the k-th best (times the
    norms of the query and of the longest label for `dot`) counts as equal to it. `wrong_proofs` are proven answers that
    the comparison refutes: anything but 0 is a bug of the index.
    """

    ks: tuple[int, ...] = (1, 10)
    sample: int = 500

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1 or max(self.ks) > 10_000:
            raise ConfigError(f"check.exactness.ks must be ranks in 1..10,000, got {self.ks}.")
        if self.sample < 1:
            raise ConfigError(f"check.exactness.sample must be at least 1, got {self.sample}.")

    def figures(self) -> Mapping[str, Better]:
        """Each figure at each k, and the wrong proofs of all."""
        names = [f"{name}_at_{k}" for k in self.ks for name in ("proven", "exact", "recall_against_exact")]
        return {**dict.fromkeys(names, "higher"), "wrong_proofs": "lower"}

    def run(self, context: CheckContext) -> CheckResult:
        """Search, compare, count.

        Raises: DataError when the index does not hold the labels that the model makes.
        """
        count = min(self.sample, len(context.queries))
        rows = np.sort(np.random.default_rng(context.seed).choice(len(context.queries), count, replace=False))
        space = index_space(context.retriever, context.queries.take(rows).texts)
        answers = [answer(context.retriever, space.queries_QE, k) for k in self.ks]
        context.progress(1, 2)
        found = [(hits, k) for (hits, _), k in zip(answers, self.ks, strict=True)]
        shares = found_shares(space, found)
        context.progress(2, 2)
        figures: dict[str, CheckFigure] = {}
        wrong = 0
        for k, (_, proven_Q), share_Q in zip(self.ks, answers, shares, strict=True):
            exact_Q = share_Q == 1
            wrong += int((proven_Q & ~exact_Q).sum())
            values_Q3 = np.stack((proven_Q, exact_Q, share_Q), axis=1).astype(np.float64)
            names = (f"proven_at_{k}", f"exact_at_{k}", f"recall_against_exact_at_{k}")
            means = mean_figures(values_Q3, samples=BOOTSTRAP_SAMPLES, seed=context.seed)
            figures |= dict(zip(names, means, strict=True))
        figures["wrong_proofs"] = CheckFigure(float(wrong))
        return CheckResult(figures, notes=self._notes(context, count, wrong))

    def _notes(self, context: CheckContext, count: int, wrong: int) -> tuple[str, ...]:
        report = context.retriever.report
        if report.exact:
            proof = "exact by construction"
        elif isinstance(context.retriever.index, CertifyingIndex):
            proof = "certified answer by answer"
        else:
            proof = "approximate, without certificates"
        notes = [
            f"{counted(count, 'query')} against all {counted(report.labels, 'label')}; the index "
            f"'{report.backend}' is {proof}."
        ]
        if wrong:
            broken = counted(wrong, "answer was promised exact and is not", "answers were promised exact and are not")
            notes.append(f"{broken}: the index does not keep its promise.")
        return tuple(notes)


def answer(retriever: CheckRetriever, queries_QE: Tensor, k: int) -> tuple[Hits, np.ndarray[Any, Any]]:
    """The hits of index queries, and for each query whether they are proven to be the true top k, (Q,) bool.

    Raises: DataError when a backend's certificates are not one for each query.
    """
    index: Any = retriever.index
    if retriever.report.exact or not isinstance(index, CertifyingIndex):
        return index.search(queries_QE, k), np.full(len(queries_QE), retriever.report.exact)
    hits, exact_Q = index.search_certified(queries_QE, k)
    exact_Q = np.asarray(exact_Q, dtype=bool)
    if exact_Q.shape != (len(queries_QE),):
        raise DataError(
            f"index '{retriever.report.backend}' gave certificates of shape {exact_Q.shape} for "
            f"{counted(len(queries_QE), 'query')}; search_certified answers (hits, exact_Q)."
        )
    return hits, exact_Q
