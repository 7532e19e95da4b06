"""The evaluation of hits: figures, intervals, bands, and every constant that they depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.counted import counted
from xmc.errors import DataError
from xmc.evaluate.auc import PooledAuc
from xmc.evaluate.bands import BANDS, label_bands, restrict_to_labels
from xmc.evaluate.bootstrap import LEVEL
from xmc.evaluate.figures import Figure, GroupReport, figures_of
from xmc.evaluate.measurement import Measurement, Metric, measure
from xmc.evaluate.options import EvaluateOptions
from xmc.evaluate.propensity import MIN_TRAIN_QUERIES, inverse_propensities, propensity_constant
from xmc.evaluate.relevance import JudgedHits, judge_hits
from xmc.values import Hits, Positives

__all__ = ["Beside", "EvaluateOptions", "EvaluationReport", "Figure", "GroupReport", "evaluate_hits"]


@dataclass(frozen=True)
class Beside:
    """Another run, asked the same queries: its figures over all labels, and how much larger this run's are.

    The intervals of `differences` are paired: of the difference over the same draws of queries.
    """

    run: str
    figures: dict[str, Figure]
    differences: dict[str, Figure]


@dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation found. `overall` covers all labels; `bands` runs from head to zero-shot.

    `queries` were asked; those without positives are counted and left out of every figure, those without hits count
    as all wrong, and those with fewer hits than the largest k are counted, since their late ranks are empty. `auc` is
    that over the pooled scores of all queries, `beside` the comparison with another run; None unless asked for.
    """

    queries: int
    queries_without_positives: int
    queries_without_hits: int
    queries_with_short_hits: int
    train_queries: int
    propensity_c: float | None
    options: EvaluateOptions
    overall: GroupReport
    bands: tuple[GroupReport, ...]
    notes: tuple[str, ...]
    auc: PooledAuc | None = None
    beside: Beside | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values that JSON can hold: options, constants, counts, figures and intervals."""
        report = asdict(self)
        report["options"]["ks"] = list(self.options.ks)
        report["bands"] = list(report["bands"])
        report["notes"] = list(self.notes)
        report["interval"] = {"level": LEVEL, "method": "percentile bootstrap over queries"}
        return report

    def table(self) -> list[dict[str, Any]]:
        """Rows for printing: counts, then figures; columns `figure`, `all`, `low`, `high` and one for each band.

        A missing number is None.
        """
        rows: list[dict[str, Any]] = []
        for count in ("queries", "labels", "pairs"):
            row = {"figure": count, "all": getattr(self.overall, count), "low": None, "high": None}
            rows.append(row | {band.name: getattr(band, count) for band in self.bands})
        for name, figure in self.overall.figures.items():
            row = {"figure": name, "all": figure.value, "low": figure.low, "high": figure.high}
            rows.append(row | {band.name: band.value(name) for band in self.bands})
        if self.auc is not None:
            name = f"AUC (top {self.auc.top_negatives:,} negatives)"
            row = {"figure": name, "all": self.auc.value, "low": None, "high": None}
            rows.append(row | {band.name: None for band in self.bands})
        return rows


def evaluate_hits(
    hits: Hits,
    positives: Positives,
    *,
    train_counts_L: NDArray[Any],
    train_queries: int,
    options: EvaluateOptions | None = None,
    extra_metrics: Mapping[str, Metric] | None = None,
) -> EvaluationReport:
    """Judge the hits of Q queries by their positives; label rows of all arguments are those of one label table.

    `train_counts_L` says of how many of the `train_queries` each label is a positive; it weighs PSP and PSnDCG and sets
    the bands. Without training (fewer than 3 queries) PSP and PSnDCG are left out and the report notes it.
    `extra_metrics` are `metric(relevant_QK, positive_counts_Q, k) -> values_Q` by name, shown as `name@k`.

    Raises: DataError when hits, positives and counts do not fit together; PluginError when an extra metric misbehaves.

    >>> hits = Hits(np.array([0, 2]), np.array([0, 1]), np.array([0.9, 0.1]))
    >>> positives = Positives(np.array([0, 1]), np.array([1]), np.ones(1))
    >>> report = evaluate_hits(hits, positives, train_counts_L=np.array([3, 9]), train_queries=10)
    >>> report.overall.figures["MRR@10"].value
    0.5
    """
    options = options or EvaluateOptions()
    train_counts_L = _checked_counts(train_counts_L)
    judged = judge_hits(hits, positives, labels=len(train_counts_L))
    constant, weights_L = _propensities(train_counts_L, train_queries, options)
    overall, *bands = [
        _group(name, part, labels, weights_L, options, extra_metrics or {})
        for name, part, labels in _parts(judged, train_counts_L, options)
    ]
    asked_Q, hit_counts_Q = positives.counts() > 0, np.diff(hits.offsets)
    return EvaluationReport(
        queries=len(positives),
        queries_without_positives=int((~asked_Q).sum()),
        queries_without_hits=int((hit_counts_Q[asked_Q] == 0).sum()),
        queries_with_short_hits=int((hit_counts_Q[asked_Q] < max(options.ks)).sum()),
        train_queries=int(train_queries),
        propensity_c=constant,
        options=options,
        overall=overall,
        bands=tuple(bands),
        notes=(*_notes(train_counts_L, train_queries), *_agreement(overall)),
    )


def measure_hits(
    hits: Hits,
    positives: Positives,
    *,
    train_counts_L: NDArray[Any],
    train_queries: int,
    options: EvaluateOptions,
    extra_metrics: Mapping[str, Metric],
) -> Measurement:
    """What `evaluate_hits` makes its figures over all labels of, for each query with a positive; arguments as there."""
    _, weights_L = _propensities(train_counts_L, train_queries, options)
    judged = judge_hits(hits, positives, labels=len(train_counts_L))
    return measure(judged, weights_L, options=options, extra_metrics=extra_metrics)


def _parts(
    judged: JudgedHits, train_counts_L: NDArray[Any], options: EvaluateOptions
) -> Iterator[tuple[str, JudgedHits, int]]:
    """Name, hits and number of labels of the whole, then of each band from head to zero-shot."""
    yield "all", judged, len(train_counts_L)
    bands_L = label_bands(train_counts_L, head_min=options.head_min, torso_min=options.torso_min)
    for number in reversed(range(len(BANDS))):
        in_band_L = bands_L == number
        yield BANDS[number], restrict_to_labels(judged, in_band_L), int(in_band_L.sum())


def _group(
    name: str,
    judged: JudgedHits,
    labels: int,
    weights_L: NDArray[Any] | None,
    options: EvaluateOptions,
    extra_metrics: Mapping[str, Metric],
) -> GroupReport:
    asked = int((judged.positives.counts() > 0).sum())
    figures = {}
    if asked:
        figures = figures_of(measure(judged, weights_L, options=options, extra_metrics=extra_metrics), options)
    return GroupReport(name, asked, labels, len(judged.positives.label_rows), figures)


def _checked_counts(train_counts_L: NDArray[Any]) -> NDArray[Any]:
    counts_L = np.asarray(train_counts_L)
    if counts_L.ndim != 1 or counts_L.dtype.kind not in "iu" or (counts_L < 0).any():
        raise DataError(
            f"train_counts_L must be one whole number from 0 up per label, "
            f"got {counts_L.dtype} of shape {counts_L.shape}."
        )
    return counts_L


def _propensities(
    train_counts_L: NDArray[Any], train_queries: int, options: EvaluateOptions
) -> tuple[float | None, NDArray[Any] | None]:
    if train_queries < MIN_TRAIN_QUERIES:
        return None, None
    a, b = options.propensity_a, options.propensity_b
    weights_L = inverse_propensities(train_counts_L, train_queries, a=a, b=b)
    return propensity_constant(train_queries, a=a, b=b), weights_L


def _agreement(overall: GroupReport) -> tuple[str, ...]:
    """What an interval without width means: drawing queries again that are all right, or all wrong, shows no spread."""
    alike = [
        name
        for name, figure in overall.figures.items()
        if _is_at_an_end(figure) and int(name.rpartition("@")[2]) < overall.labels  # where all are shown it is certain
    ]
    if not alike:
        return ()
    unseen = 1 - ((1 - LEVEL) / 2) ** (1 / overall.queries)  # Clopper-Pearson, of none among so many
    return (
        f"intervals without width, such as that of {alike[0]}, say that all "
        f"{counted(overall.queries, 'query agrees', 'queries agree')}; "
        f"of other queries {unseen:.1%} may differ.",
    )


def _is_at_an_end(figure: Figure) -> bool:
    """Whether value and interval are all 0, or all 1, but for rounding."""
    numbers = (figure.value, figure.low, figure.high)
    return any(all(number is not None and abs(number - end) < 1e-9 for number in numbers) for end in (0.0, 1.0))


def _notes(train_counts_L: NDArray[Any], train_queries: int) -> tuple[str, ...]:
    notes = []
    if train_queries < MIN_TRAIN_QUERIES:
        notes.append(
            f"PSP and PSnDCG are left out: they need {MIN_TRAIN_QUERIES} training queries, got {train_queries:,}."
        )
    if train_counts_L.max(initial=0) > train_queries:
        notes.append(f"a label has more training queries ({train_counts_L.max()}) than there are ({train_queries}).")
    return tuple(notes)
