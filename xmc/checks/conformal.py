"""`xmc check conformal`: label sets that miss at most a share alpha of the positives, or hold one, as promised.

Shapes: Q queries, A values of alpha.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.check_contract import Better, CheckContext, CheckFigure, CheckResult
from xmc.checks.intervals import mean_figures
from xmc.checks.risk_curves import find_positives, judged_chunks, risk_curve
from xmc.counted import counted
from xmc.errors import ConfigError, DataError
from xmc.retrieve.fitted import LABEL_SETS_FILE, LABEL_SETS_KIND, MODEL
from xmc.retrieve.label_sets import RISKS, LabelSets, Risk, RiskCurve, ScoredBy, nearness
from xmc.store import write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
BOOTSTRAP_SAMPLES = 1000


@dataclass(frozen=True)
class Conformal:
    """Find the cut-off under which label sets keep a promise on new queries like those held out.

    The promise: on average at most a share `alpha` of a query's positives is missing (false negatives), and in a set
    for coverage at least one is there with probability 1 - alpha. A set holds the hits whose score is within the
    cut-off of the best one's (`scored_by` = `gap`) or above it (`score`), of the best `most_labels`. `also` are further
    values of alpha for the table.

    Reference: Angelopoulos, Bates, Fisch, Lei, Schuster 2024, Conformal risk control.
    """

    alpha: float = 0.1
    also: tuple[float, ...] = (0.05, 0.2, 0.3)
    scored_by: ScoredBy = "gap"
    most_labels: int = 1000

    def __post_init__(self) -> None:
        for alpha in (self.alpha, *self.also):
            if not 0 < alpha < 1:
                raise ConfigError(f"check.conformal.alpha must lie between 0 and 1, got {alpha}.")
        if not 1 <= self.most_labels <= 10_000:
            raise ConfigError(f"check.conformal.most_labels must lie in 1..10,000, got {self.most_labels}.")

    def figures(self) -> Mapping[str, Better]:
        """Loss and size of both kinds of sets at alpha."""
        return {
            "false_negative_rate": "lower",
            "set_size": "lower",
            "coverage": "higher",
            "coverage_set_size": "lower",
        }

    def run(self, context: CheckContext) -> CheckResult:
        """Fit on some queries, measure on others.

        Raises: DataError when there are too few queries for alpha, or the sets would have to be longer.
        """
        found = find_positives(context, context.fit_queries, k=self.most_labels, scored_by=self.scored_by)
        curves: dict[str, RiskCurve] = dict(zip(RISKS, (risk_curve(found), risk_curve(found.best())), strict=True))
        for risk in RISKS:
            curves[risk].cut_off(self.alpha)  # refuses before the other queries are searched
        alphas = self._alphas_that_can_be_kept(curves)
        names = ("risk", "alpha", "cut_off", "measured", "set_size", "median_set_size")
        columns: dict[str, list[Any]] = {name: [] for name in names}
        figures: dict[str, CheckFigure] = {}
        cut_offs = {(risk, alpha): curves[risk].cut_off(alpha) for risk, alpha in alphas}
        for (risk, alpha), values_Q2 in self._measured(context, cut_offs).items():
            loss, size = mean_figures(values_Q2, samples=BOOTSTRAP_SAMPLES, seed=context.seed)
            row = (risk, alpha, cut_offs[risk, alpha], loss.value, size.value, float(np.median(values_Q2[:, 1])))
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            if alpha == self.alpha:
                figures |= _named(risk, loss, size)
        self._keep(context, LabelSets(self.scored_by, self.most_labels, curves))
        return CheckResult(figures, {"sets": columns}, {"sets": draw_sets(columns)}, self._notes(context, curves))

    def _alphas_that_can_be_kept(self, curves: Mapping[str, RiskCurve]) -> list[tuple[Risk, float]]:
        kept: list[tuple[Risk, float]] = []
        for risk in RISKS:
            for alpha in sorted({self.alpha, *self.also}):
                try:
                    curves[risk].cut_off(alpha)
                except DataError:
                    continue
                kept.append((risk, alpha))
        return kept

    def _measured(
        self, context: CheckContext, cut_offs: Mapping[tuple[Risk, float], float]
    ) -> dict[tuple[Risk, float], Array]:
        """Loss and set size of each query at each cut-off, (Q, 2)."""
        values = {key: np.zeros((len(context.queries), 2)) for key in cut_offs}
        counts_Q = context.queries.positives.counts()
        for rows, hits, relevant_H in judged_chunks(context, context.queries, k=self.most_labels):
            near_H, places_H = nearness(hits, self.scored_by), hits.query_rows()
            for (risk, alpha), cut_off in cut_offs.items():
                kept_H = near_H >= cut_off
                found_R = np.bincount(places_H[kept_H & relevant_H], minlength=len(rows))
                loss_R = 1 - found_R / counts_Q[rows] if risk == "false-negatives" else found_R == 0
                values[risk, alpha][rows, 0] = loss_R
                values[risk, alpha][rows, 1] = np.bincount(places_H[kept_H], minlength=len(rows))
        return values

    def _keep(self, context: CheckContext, label_sets: LabelSets) -> None:
        import pyarrow as pa

        from xmc.data.shards import write_table

        with context.new_version(LABEL_SETS_KIND, facts={MODEL: dict(context.model)}) as folder:
            facts = {
                "scored_by": label_sets.scored_by,
                "most_labels": label_sets.most_labels,
                "queries": label_sets.curves[RISKS[0]].queries,
                "missing": {risk: curve.missing for risk, curve in label_sets.curves.items()},
            }
            write_json(folder / LABEL_SETS_FILE, facts)
            for risk, curve in label_sets.curves.items():
                table = pa.table({"cut_off": curve.cut_offs_S, "risk": curve.risks_S})
                write_table(folder / f"{risk}.parquet", table)

    def _notes(self, context: CheckContext, curves: Mapping[str, RiskCurve]) -> tuple[str, ...]:
        missing = curves["false-negatives"].missing
        return (
            f"alpha = {self.alpha:g}; calibrated on {counted(len(context.fit_queries), 'query')}, measured on "
            f"{counted(len(context.queries), 'other')}. The promise holds on average over both, for "
            "queries of the same kind.",
            f"the best {counted(self.most_labels, 'label misses', 'labels miss')} {missing:.4f} of the "
            "positives: no set can miss less.",
        )


def _named(risk: Risk, loss: CheckFigure, size: CheckFigure) -> dict[str, CheckFigure]:
    if risk == "false-negatives":
        return {"false_negative_rate": loss, "set_size": size}
    low, high = (None if end is None else 1 - end for end in (loss.high, loss.low))
    return {"coverage": CheckFigure(1 - loss.value, low, high), "coverage_set_size": size}


def draw_sets(columns: Mapping[str, list[Any]]) -> Figure:
    """Measured loss and mean size of the sets against alpha."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for risk, colour in zip(RISKS, ("tab:blue", "tab:orange"), strict=True):
        rows = [row for row, name in enumerate(columns["risk"]) if name == risk]
        alphas = [columns["alpha"][row] for row in rows]
        left.plot(alphas, [columns["measured"][row] for row in rows], "o-", color=colour, label=risk)
        right.plot(alphas, [columns["set_size"][row] for row in rows], "o-", color=colour)
    most = max(columns["alpha"])
    left.plot([0, most], [0, most], ":", color="tab:gray", label="promised at most")
    left.set(xlabel="alpha", ylabel="measured loss", xlim=(0, None), ylim=(0, None))
    right.set(xlabel="alpha", ylabel="labels in a set, mean", xlim=(0, None), yscale="log")
    left.legend()
    return figure
