"""`xmc check calibrate`: fit probabilities on held-out queries, judge them on others, keep the calibrator in the run.

Shapes: H pairs, Q queries, B bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xmc.check_contract import Better, CheckContext, CheckFigure, CheckQueries, CheckResult
from xmc.checks.calibration_error import (
    Bins,
    brier_scores,
    equal_mass_bins,
    error_by_chance,
    expected_calibration_error,
    log_losses,
)
from xmc.checks.calibrators import MOST_RANKS, Method, fit_calibration, uncalibrated
from xmc.checks.cut_offs import cut_offs_of
from xmc.checks.intervals import ece_figures, mean_figures
from xmc.checks.pairs import Pairs, retrieved_pairs, without_positives
from xmc.checks.reliability import draw_reliability, reliability_table
from xmc.counted import counted
from xmc.errors import ConfigError, grouped
from xmc.evaluate.options import MOST_SAMPLES
from xmc.evaluate.propensity import MIN_TRAIN_QUERIES, inverse_propensities
from xmc.retrieve.calibration import Calibration, never_rising
from xmc.retrieve.fitted import CALIBRATION_FILE, CALIBRATION_KIND, MODEL
from xmc.retrieve.no_match import no_match
from xmc.store import write_json
from xmc.values import Hits

Array = np.ndarray[Any, Any]
LEAST_FLAT = 0.5  # a curve of first hits that falls no lower keeps the best of any list
EACH_K: Mapping[str, Better] = {
    "ece": "lower",
    "ece_before": "neither",
    "ece_by_chance": "neither",
    "ece_propensity": "lower",
    "brier": "lower",
    "log_loss": "lower",
}


@dataclass(frozen=True)
class Calibrate:
    """Make P(relevant | score, band of ranks) of the `top` hits and measure how true it is at each of `ks`.

    `method` is `isotonic`, `platt` or `temperature`; `first_ranks` says where the bands of ranks start, each with a
    curve of its own (`temperature` has one for all).
    Held-out queries all have an answer, so alone they say nothing about texts that have none. Therefore each query
    counts twice: with the weight `unanswerable` as if nothing matched it, its positives taken out of its hits, and with
    the rest of its weight as it is.
    ECE has `bins` equal-mass bins, and an interval of `bootstrap_samples` draws of the queries (0 = none).
    `propensity_a` and `propensity_b` are those of `[evaluate]`.
    """

    method: Method = "isotonic"
    top: int = 10
    first_ranks: tuple[int, ...] = (1, 2, 3, 6)
    ks: tuple[int, ...] = (1, 5, 10)
    unanswerable: float = 0.1
    bins: int = 15
    bootstrap_samples: int = 1000
    propensity_a: float = 0.55
    propensity_b: float = 1.5

    def __post_init__(self) -> None:
        _require(1 <= self.top <= 10_000, "top", "1 to 10,000", self.top)
        _require(bool(self.ks) and min(self.ks) >= 1, "ks", "one or more ranks from 1 up", self.ks)
        _require(max(self.ks) <= self.top, "ks", f"at most check.calibrate.top ({self.top})", self.ks)
        _require(bool(self.first_ranks) and min(self.first_ranks) >= 1, "first_ranks", "from 1 up", self.first_ranks)
        _require(0 <= self.unanswerable < 1, "unanswerable", "0 to below 1", self.unanswerable)
        _require(2 <= self.bins <= 1000, "bins", "2 to 1,000", self.bins)
        samples = self.bootstrap_samples
        _require(0 <= samples <= MOST_SAMPLES, "bootstrap_samples", f"0 (off) to {MOST_SAMPLES:,}", samples)
        _require(0 <= self.propensity_a < np.inf, "propensity_a", "0 or more", self.propensity_a)
        _require(0 < self.propensity_b < np.inf, "propensity_b", "above 0", self.propensity_b)

    def figures(self) -> Mapping[str, Better]:
        """Each figure at each k."""
        return {f"{name}_at_{k}": better for name, better in EACH_K.items() for k in self.ks}

    def run(self, context: CheckContext) -> CheckResult:
        """Fit, judge, keep.

        Raises: DataError when there are too few relevant pairs to fit to.
        """
        fit_pairs, pairs = (self._pairs(context, queries) for queries in (context.fit_queries, context.queries))
        pairs = self._some_unanswered(context, pairs).down_to(self.top)
        calibration = fit_calibration(
            fit_pairs, method=self.method, first_ranks=self.first_ranks, unanswerable=self.unanswerable, top=self.top
        )
        fit_pairs = fit_pairs.down_to(self.top)
        offsets = np.searchsorted(pairs.query_rows_H, np.arange(pairs.queries + 1))
        probabilities_H = never_rising(calibration.at_ranks(pairs.scores_H, pairs.ranks_H), offsets)
        judged = Hits(offsets, pairs.label_rows_H, pairs.scores_H)
        probabilities_H[no_match(context.retriever, judged)[judged.query_rows()]] = 0.0  # as a search has them
        calibration = replace(calibration, cut_offs=cut_offs_of(pairs, probabilities_H))
        stages = {
            "before": uncalibrated(pairs.scores_H, context.retriever.report.similarity),
            "after": probabilities_H,
        }
        binned = {}
        for k in self.ks:
            inside_H = pairs.ranks_H <= k
            for stage, values_H in stages.items():
                binned[k, stage] = equal_mass_bins(values_H[inside_H], pairs.relevant_H[inside_H], bins=self.bins)
        result = CheckResult(
            figures=self._figures(context, pairs, stages, binned),
            tables={"reliability": reliability_table(binned), "cut_offs": calibration.cut_offs.to_dict()},
            pictures={"reliability": draw_reliability(binned)},
            notes=self._notes(context, calibration, fit_pairs),
        )
        self._keep(context, calibration)
        return result

    def _pairs(self, context: CheckContext, queries: CheckQueries) -> Pairs:
        hits = context.search(queries, k=self._depth(context, queries))
        return retrieved_pairs(hits, queries.positives, labels=len(context.retriever.labels))

    def _depth(self, context: CheckContext, queries: CheckQueries) -> int:
        """`top`, and what moves up into it where positives are taken out; a second stage sees its usual shortlist."""
        if self.unanswerable == 0:
            return self.top
        depth = self.top + min(self.top, int(queries.positives.counts().max(initial=0)))
        if reranking := getattr(context.retriever, "reranking", None):
            depth = min(depth, max(self.top, reranking.depth))
        return min(depth, MOST_RANKS)

    def _some_unanswered(self, context: CheckContext, pairs: Pairs) -> Pairs:
        """The judged pairs, a share of the queries as if nothing matched them."""
        if self.unanswerable == 0:
            return pairs
        queries = context.queries
        unanswerable_Q = np.zeros(len(queries), dtype=bool)
        unanswerable_Q[: max(1, round(self.unanswerable * len(queries)))] = True
        np.random.default_rng(context.seed).shuffle(unanswerable_Q)
        return without_positives(pairs, unanswerable_Q, queries.positives.counts())

    def _keep(self, context: CheckContext, calibration: Calibration) -> None:
        with context.new_version(CALIBRATION_KIND, facts={MODEL: dict(context.model)}) as folder:
            write_json(folder / CALIBRATION_FILE, calibration.to_dict())

    def _figures(
        self, context: CheckContext, pairs: Pairs, stages: Mapping[str, Array], binned: Mapping[tuple[int, str], Bins]
    ) -> dict[str, CheckFigure]:
        sampling = {"samples": self.bootstrap_samples, "seed": context.seed}
        parts = {k: pairs.chosen(pairs.ranks_H <= k) for k in self.ks}
        counts = {k: np.bincount(part.query_rows_H, minlength=part.queries) for k, part in parts.items()}
        eces = ece_figures(
            [expected_calibration_error(bins) for bins in binned.values()],
            [_gaps(parts[k], stages[stage][pairs.ranks_H <= k], bins) for (k, stage), bins in binned.items()],
            [counts[k] for k, _ in binned],
            **sampling,
        )
        names = {"before": "ece_before", "after": "ece"}
        figures = {f"{names[stage]}_at_{k}": ece for (k, stage), ece in zip(binned, eces, strict=True)}
        for k, part in parts.items():
            figures |= self._more_figures(context, part, stages["after"][pairs.ranks_H <= k], counts[k], k)
        return {name: figures[name] for name in self.figures() if name in figures}

    def _more_figures(
        self, context: CheckContext, part: Pairs, probabilities_H: Array, counts_Q: Array, k: int
    ) -> dict[str, CheckFigure]:
        """Brier score, log loss and the two further calibration errors of the pairs down to rank k."""
        figures: dict[str, CheckFigure] = {}
        terms = (brier_scores(probabilities_H, part.relevant_H), log_losses(probabilities_H, part.relevant_H))
        sums_QM = np.stack([np.bincount(part.query_rows_H, term_H, part.queries) for term_H in terms], axis=1)
        means_QM = sums_QM[counts_Q > 0] / counts_Q[counts_Q > 0, None]
        means = mean_figures(means_QM, samples=self.bootstrap_samples, seed=context.seed)
        figures[f"brier_at_{k}"], figures[f"log_loss_at_{k}"] = means
        bins = equal_mass_bins(probabilities_H, part.relevant_H, bins=self.bins)
        figures[f"ece_by_chance_at_{k}"] = CheckFigure(error_by_chance(probabilities_H, bins))
        if (weights_L := self._inverse_propensities(context)) is not None:
            weighted = equal_mass_bins(probabilities_H, part.relevant_H * weights_L[part.label_rows_H], bins=self.bins)
            figures[f"ece_propensity_at_{k}"] = CheckFigure(expected_calibration_error(weighted))
        return figures

    def _inverse_propensities(self, context: CheckContext) -> Array | None:
        if context.train_queries < MIN_TRAIN_QUERIES:
            return None
        return inverse_propensities(
            context.train_counts_L, context.train_queries, a=self.propensity_a, b=self.propensity_b
        )

    def _notes(self, context: CheckContext, calibration: Calibration, fit_pairs: Pairs) -> tuple[str, ...]:
        reading = "cut to 0..1" if context.retriever.report.similarity == "cosine" else "through the logistic function"
        bands = ", ".join(map(str, calibration.first_ranks))
        first_hits = fit_pairs.chosen(fit_pairs.ranks_H == 1)
        least = float(calibration.at_ranks(first_hits.scores_H, first_hits.ranks_H).min())
        no_abstention = (
            f"the first hit has a probability of {least:.2f} or more at every score: no cut-off tells a text that "
            "nothing answers; set check.calibrate.unanswerable above 0."
        )
        return (
            *([no_abstention] if least >= LEAST_FLAT and not self.unanswerable else []),
            f"{calibration.method}, fitted to {counted(len(fit_pairs), 'retrieved pair')} of "
            f"{counted(len(context.fit_queries), 'query')}; bands of ranks start at {bands}.",
            f"`before` reads the score as a probability ({reading}).",
            "`ece_by_chance` is what true probabilities would show on so many pairs; `ece_propensity` counts a hit by "
            "its inverse propensity, as if the missing labels were known.",
        )


def _gaps(pairs: Pairs, probabilities_H: Array, bins: Bins) -> Array:
    """Sums of probability - hit by query and bin, (Q, B)."""
    width = len(bins.counts_B)
    cells_H = pairs.query_rows_H * width + bins.bin_H
    sums = np.bincount(cells_H, probabilities_H - pairs.relevant_H, pairs.queries * width)
    return np.asarray(sums.reshape(pairs.queries, width))


def _require(holds: bool, key: str, allowed: str, got: object) -> None:
    if not holds:
        raise ConfigError(f"check.calibrate.{key} must be {allowed}, got {grouped(got)}.")
