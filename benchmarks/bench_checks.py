"""Checks: calibration before and after, conformal sets over many splits with a null control, pooled AUC, and time.

    python benchmarks/bench_checks.py [--queries=N] NAME=RUN_FOLDER ...

At most N queries are judged, and as many fitted, and then the time with search is left out. Each run is one that
check_runs.py made, such as `icd10cm=runs/icd10cm icd10cm-mw=runs/icd10cm-mw`. Without any only the time on synthetic
queries is measured. Of a run whose name ends in `-mw` (Mann-Whitney) or `-untrained` only the pooled AUC is measured,
to stand beside that of the run without the ending. The null control calibrates on the queries that the model finds
easiest (by the score of their best hit) and judges on the others, which breaks exchangeability.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from record import beside_earlier, record

from xmc.api import CheckContext, CheckFigure, DataError, Hits
from xmc.checks.calibrate import Calibrate
from xmc.checks.conformal import Conformal
from xmc.checks.exactness import Exactness
from xmc.checks.risk_curves import FoundPositives, find_positives, risk_curve
from xmc.data.tables import QueryTable
from xmc.engine.checking import open_context
from xmc.engine.held_out import HeldOut, held_out
from xmc.engine.run_config import read_run_config
from xmc.engine.separation import positive_scores
from xmc.engine.training_set import load_for_training
from xmc.evaluate.auc import roc_auc
from xmc.plugin_manager import load_plugins
from xmc.retrieve.retriever import Retriever
from xmc.testing.check_cases import Recorder, example_context
from xmc.values import Positives

ALPHAS = (0.05, 0.1, 0.2)
SPLITS = 500
MOST_LABELS = 2000
SYNTHETIC_QUERIES = 100_000
METHODS = ("isotonic", "platt", "temperature")
NEGATIVES = 500
LOSSES = {"mw": "Mann-Whitney", "untrained": "untrained"}  # by the ending of a run's name
Row = dict[str, object]


def context_of(run: Path, most: int = 0) -> CheckContext:
    """The context of a run, dev against test, in which nothing is kept; at most so many queries of each (0 = all)."""
    plugins = load_plugins()
    config = read_run_config(plugins, run)
    data = load_for_training(config)
    retriever = Retriever.load(run, device="cpu", plugins=plugins)
    found = held_out(data, retriever, split="test")
    judged, fitted = (first_queries(queries, most) for queries in (found.queries, found.fit_queries))
    source = f"judged on {len(judged):,} and fitted on {len(fitted):,} of: {found.source}" if most else found.source
    context = open_context(config, run, data, retriever, HeldOut(judged, fitted, source))
    return replace(context, new_version=Recorder().new_version)


def first_queries(queries: QueryTable, most: int) -> QueryTable:
    """At most so many of the queries, drawn with a fixed seed."""
    if most == 0 or len(queries) <= most:
        return queries
    return queries.take(np.sort(np.random.default_rng(0).choice(len(queries), most, replace=False)))


def row(question: str, subject: str, x: str, figure: CheckFigure, unit: str = "", config: str = "") -> Row:
    """A row of the table from a figure with its interval."""
    ends = {"low95": "" if figure.low is None else figure.low, "high95": "" if figure.high is None else figure.high}
    threads = torch.get_num_threads()
    found: Row = {"question": question, "subject": subject, "x": x, "median": figure.value, "unit": unit, **ends}
    return {**found, "threads": threads, "config": config}


def calibration_rows(name: str, context: CheckContext) -> Iterator[Row]:
    """Errors of each method where every query has an answer; isotonic also with one curve, and as it is by default."""
    for check, subject in [
        *((Calibrate(method=method, unanswerable=0.0), method) for method in METHODS),
        (Calibrate(first_ranks=(1,), unanswerable=0.0), "isotonic, one band"),
        (Calibrate(), "isotonic, a tenth without an answer"),
    ]:
        figures = check.run(context).figures
        wanted = [figure for figure in figures if figure.startswith(("ece_at", "brier", "log_loss"))]
        if subject == METHODS[0]:
            wanted += [figure for figure in figures if figure.startswith(("ece_before", "ece_by_chance"))]
        for figure in wanted:
            yield row("calibration", f"{name} {subject}", figure, figures[figure], config=context.source)


def conformal_rows(name: str, context: CheckContext) -> Iterator[Row]:
    """Loss and cut-off over random halvings of the test queries, set sizes, and the null control."""
    queries = context.queries
    found = find_positives(context, queries, k=MOST_LABELS, scored_by="gap")
    best_score_Q = np.concatenate([scores[:1] for _, scores in context.search(queries, k=1)])
    easiest_first = np.argsort(-best_score_Q, kind="stable")
    config = f"{len(queries)} test queries, best {MOST_LABELS} labels, {SPLITS} halvings"
    kept: dict[float, float] = {}
    for alpha in ALPHAS:
        try:
            losses, cut_offs = over_splits(found, alpha)
        except DataError as error:
            print(f"{name}: {error}")
            continue
        kept[alpha] = float(np.median(cut_offs))
        error = 1.96 * losses.std(ddof=1) / np.sqrt(SPLITS)
        mean = CheckFigure(losses.mean(), losses.mean() - error, losses.mean() + error)
        yield row("conformal", name, f"mean FNR at alpha {alpha:g}", mean, config=config)
        yield row("conformal", name, f"null control FNR at alpha {alpha:g}", null_control(found, easiest_first, alpha))
    for alpha, sizes_Q in zip(kept, set_sizes(context, list(kept.values())).T, strict=True):
        for what, value in (("mean", sizes_Q.mean()), ("median", np.median(sizes_Q))):
            yield row("conformal", name, f"{what} set size at alpha {alpha:g}", CheckFigure(float(value)), "labels")


def over_splits(found: FoundPositives, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean loss of the judged half, and the cut-off, of each halving."""
    generator = np.random.default_rng(0)
    queries = len(found.positive_counts_Q)
    losses, cut_offs = np.zeros(SPLITS), np.zeros(SPLITS)
    for split in range(SPLITS):
        order = generator.permutation(queries)
        cut_offs[split] = risk_curve(found.take(order[: queries // 2])).cut_off(alpha)
        losses[split] = found.take(order[queries // 2 :]).missed_shares(cut_offs[split]).mean()
    return losses, cut_offs


def null_control(found: FoundPositives, easiest_first: np.ndarray, alpha: float) -> CheckFigure:
    """The loss on the hard half when the easy half was calibrated on."""
    half = len(easiest_first) // 2
    cut_off = risk_curve(found.take(easiest_first[:half])).cut_off(alpha)
    losses = found.take(easiest_first[half:]).missed_shares(cut_off)
    error = 1.96 * losses.std(ddof=1) / np.sqrt(len(losses))
    return CheckFigure(losses.mean(), losses.mean() - error, losses.mean() + error)


def set_sizes(context: CheckContext, cut_offs: list[float]) -> np.ndarray:
    """Labels in the set of each test query at each cut-off, (Q, cut-offs)."""
    sizes = []
    for start in range(0, len(context.queries), 1024):
        texts = context.queries.texts[start : start + 1024]
        hits = context.retriever.search_embeddings(context.retriever.encode(texts), k=MOST_LABELS)
        for _, scores in hits:
            gaps_H = scores.astype(np.float64) - scores[0]
            sizes.append([int((gaps_H >= cut_off).sum()) for cut_off in cut_offs])
    return np.array(sizes).reshape(len(context.queries), len(cut_offs))


def separation_row(name: str, context: CheckContext) -> Row:
    """The pooled AUC of the judged queries: every positive against the best negatives of every query."""
    queries, retriever = context.queries, context.retriever
    depth = NEGATIVES + int(queries.positives.counts().max())
    hits = context.search(queries, k=min(depth, len(retriever.labels)))
    scores_P = positive_scores(retriever, queries.texts, hits, queries.positives)
    positives = np.split(scores_P, queries.positives.offsets[1:-1])
    negatives = [
        scores[~np.isin(rows, queries.positives.label_rows[start:stop])][:NEGATIVES]
        for (rows, scores), start, stop in zip(
            hits, queries.positives.offsets[:-1], queries.positives.offsets[1:], strict=True
        )
    ]
    value, error = clustered_auc(positives, negatives)
    data, _, ending = name.partition("-")
    figure = CheckFigure(value, value - 1.96 * error, value + 1.96 * error)
    config = f"{len(queries)} queries, {len(scores_P)} positives, best {NEGATIVES} negatives of each"
    found = row("separation", f"{data} {LOSSES.get(ending, 'decoupled softmax')}", "pooled AUC", figure, config=config)
    return {**found, "baseline": "decoupled softmax"}


def clustered_auc(positives: list[np.ndarray], negatives: list[np.ndarray]) -> tuple[float, float]:
    """The AUC of scores pooled over queries, and its standard error with queries as clusters (Obuchowski 1997)."""
    all_positives, all_negatives = np.sort(np.concatenate(positives)), np.sort(np.concatenate(negatives))
    value = roc_auc(all_positives, all_negatives)
    influence_Q = np.zeros(len(positives))
    for query, (own_positives, own_negatives) in enumerate(zip(positives, negatives, strict=True)):
        below = sum(np.searchsorted(all_negatives, own_positives, side=side).sum() for side in ("left", "right"))
        up_to = sum(np.searchsorted(all_positives, own_negatives, side=side).sum() for side in ("left", "right"))
        lifted = below / (2 * len(all_negatives)) - value * len(own_positives)
        sunk = len(own_negatives) - up_to / (2 * len(all_positives)) - value * len(own_negatives)
        influence_Q[query] = lifted / len(all_positives) + sunk / len(all_negatives)
    return value, float(np.sqrt((influence_Q**2).sum()))


def synthetic_context() -> CheckContext:
    """100,000 queries, whose hits are there already: what remains is the checks' own time."""
    generator = np.random.default_rng(0)
    base = example_context()
    count, k = SYNTHETIC_QUERIES, 50
    rows = np.argsort(generator.random((count, len(base.retriever.labels))), axis=1)[:, :k]
    scores = np.sort(generator.random((count, k), dtype=np.float32), axis=1)[:, ::-1]
    place = np.minimum(generator.geometric(0.4, count) - 1, k - 1)
    positives = Positives(
        np.arange(count + 1), rows[np.arange(count), place].astype(np.int32), np.ones(count, np.float32)
    )
    queries = QueryTable([str(query) for query in range(count)], ["w1"] * count, positives)

    def search(some: object, *, k: int) -> Hits:
        del some
        return Hits(np.arange(count + 1) * k, rows[:, :k].ravel(), scores[:, :k].ravel())

    return replace(base, queries=queries, fit_queries=queries, search=search)


def time_rows() -> Iterator[Row]:
    """Seconds of the checks beside search and encoding."""
    context = synthetic_context()
    config = f"{SYNTHETIC_QUERIES} queries, search not counted"
    for check in (Calibrate(), Calibrate(method="platt"), Calibrate(method="temperature")):
        seconds = timed(lambda check=check: check.run(context))
        yield row("time", f"calibrate {check.method}", "wall", CheckFigure(seconds), "s", config)
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 6, SYNTHETIC_QUERIES)
    nearness = -generator.exponential(0.2, counts.sum())
    found = FoundPositives(np.repeat(np.arange(SYNTHETIC_QUERIES), counts), nearness, counts)
    yield row(
        "time", "conformal cut-offs", "wall", CheckFigure(timed(lambda: risk_curve(found).cut_off(0.1))), "s", config
    )


def timed(run: object) -> float:
    started = time.perf_counter()
    run()
    return round(time.perf_counter() - started, 2)


def run_rows(name: str, run: Path, most: int) -> Iterator[Row]:
    """Everything about one run."""
    context = context_of(run, most)
    yield separation_row(name, context)
    if name.partition("-")[2] in LOSSES:
        return
    yield from calibration_rows(name, context)
    yield from conformal_rows(name, context)
    if most:
        return  # the time of all queries is what is asked for
    for check in (Calibrate(), Conformal(alpha=0.2, most_labels=MOST_LABELS), Exactness()):
        fresh = context_of(run, most)
        subject = f"{name} {type(check).__name__.lower()}"
        seconds = timed(lambda check=check, fresh=fresh: check.run(fresh))
        yield row("time", subject, "wall with search", CheckFigure(seconds), "s", fresh.source)


def main(arguments: list[str]) -> None:
    """Write results/checks.csv; what it has about other runs stays."""
    rows = list(time_rows())
    write(rows)
    most = next((int(one.partition("=")[2]) for one in arguments if one.startswith("--queries=")), 0)
    for argument in (one for one in arguments if not one.startswith("--")):
        name, _, folder = argument.partition("=")
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / "run"
            shutil.copytree(folder, copy)
            rows += run_rows(name, copy, most)
        write(rows)


def write(rows: list[Row]) -> None:
    """Print the rows and put them into the table; called after each run, so that no finished work is lost."""
    for each in rows:
        print(each["subject"], each["x"], each["median"], each.get("low95", ""), each.get("high95", ""), sep="\t")
    path = Path(__file__).parent / "results" / "checks.csv"
    record(path, beside_earlier(path, rows))
    rows.clear()


if __name__ == "__main__":
    main(sys.argv[1:])
