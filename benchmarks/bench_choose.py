"""Off-policy choice on ICD-10-CM: estimates against true values, rankings, SharpeRatio@k, over many simulated logs.

    python benchmarks/bench_choose.py [WORK_FOLDER]

Runs of different quality are trained: one, two, four and eight epochs against sampled labels, and TF-IDF as it is. That
of two epochs makes the logs: it shows labels out of its best 20, drawn by softmax(score / 0.1), for queries drawn from
the test split; users click by the true labels, from the top until their first click (`Clicks` below). The true value of
a run as a policy over those 20 is computed from the same click model. Everything is judged on LOGS logs of ROWS rows.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from quality import xmc
from record import record

from xmc.choose.candidate import CandidateReport
from xmc.choose.judge import ChooseOptions, Scored, judge
from xmc.choose.log import ClickLog, log_of
from xmc.choose.policy import Policy
from xmc.choose.portfolio import portfolio
from xmc.choose.simulate import Clicks, simulate_log, true_value
from xmc.data.dataset import load_dataset
from xmc.engine.choosing import score
from xmc.retrieve.retriever import Retriever

SAMPLED = ("train.label_scope=sampled", "train.sampled_labels=2048")
RUNS = {
    **{f"{epochs} epochs": (f"train.epochs={epochs}", *SAMPLED) for epochs in (1, 2, 4, 8)},
    "TF-IDF": ("encoder.name=tfidf", "train.epochs=1", "train.learning_rate=1e-12", *SAMPLED),
}
MAKER = "2 epochs"
LOGS, ROWS, CANDIDATES, EXPLORATION = 20, 3000, 20, 0.1
CLICKS = Clicks(relevant=0.7, irrelevant=0.05, decay=1.0, cascade=True)
SCENARIOS = {"1 label, best": (1, 0.0), "3 labels, best": (3, 0.0), "3 labels, drawn": (3, 0.1)}
Row = dict[str, object]


def trained(work: Path) -> dict[str, Retriever]:
    """The runs, trained where they are not there yet."""
    found = {}
    for name, settings in RUNS.items():
        run = work / name.replace(" ", "-")
        if not (run / "train.json").is_file():
            chosen = [part for setting in settings for part in ("--set", setting)]
            cost = xmc("train", "--plugin", "dexml", "--data", "icd10cm", "--out", str(run), *chosen)
            print(f"{name}: {cost.processor_s:.0f} processor seconds", flush=True)
        found[name] = Retriever.load(run, device="cpu")
    return found


def part_of(log: ClickLog, rows: slice) -> ClickLog:
    """Some rows of a log."""
    offsets = log.offsets[rows.start : rows.stop + 1]
    return replace(
        log,
        query_ids=log.query_ids[rows],
        texts=log.texts[rows],
        codes_N=log.codes_N[offsets[0] : offsets[-1]],
        offsets=offsets - offsets[0],
        **{
            name: getattr(log, name)[rows]
            for name in ("shown_QK", "is_shown_QK", "propensities_QK", "rewards_QK", "rank_propensities_QK")
        },
    )


def scenario_rows(name: str, runs: Mapping[str, Retriever]) -> Iterator[Row]:
    """All rows of one scenario: how long the lists are, and how the candidates would show theirs."""
    shown, temperature = SCENARIOS[name]
    simulated = simulate_log(
        runs[MAKER], load_dataset("icd10cm").test, rows=LOGS * ROWS, shown=shown, candidates=CANDIDATES,
        temperature=EXPLORATION, clicks=CLICKS,
    )  # fmt: skip
    log = log_of(simulated.table)
    scored = {run: score(log, run, retriever) for run, retriever in runs.items()}
    world = {"relevant_QM": simulated.relevant_QM, "shown": shown, "clicks": CLICKS, "draws": 20}
    truths = {run: true_value(Policy(each.scores_QM, temperature), **world) for run, each in scored.items()}
    behaviour = true_value(simulated.policy, **world)
    started = time.perf_counter()
    judged = [judge_part(log, scored, temperature, slice(start, start + ROWS)) for start in range(0, len(log), ROWS)]
    seconds = (time.perf_counter() - started) / LOGS
    yield row(name, "policy of the log", "true value", behaviour)
    for run, truth in truths.items():
        reports = [report for found in judged for report in found if report.name == run]
        yield row(name, run, "true value", truth)
        yield row(name, run, "outside", 100 * scored[run].outside, "%")
        for what in ("effective_rows", "matched"):
            yield row(name, run, f"{what}, mean", float(np.mean([getattr(each.overlap, what) for each in reports])))
        yield row(name, run, "verdict better", share(each.verdict == "better" for each in reports), "%")
        yield row(name, run, "verdict unreliable", share(each.verdict == "unreliable" for each in reports), "%")
    for estimator in judged[0][0].estimates:
        yield from estimator_rows(name, estimator, judged, truths, behaviour)
    yield row(name, "all runs", "wall a log, scores not counted", seconds, "s")


def judge_part(
    log: ClickLog, scored: Mapping[str, Scored], temperature: float, rows: slice
) -> tuple[CandidateReport, ...]:
    """Judge every run by some rows."""
    parts = {run: replace(each, scores_QM=each.scores_QM[rows]) for run, each in scored.items()}
    options = ChooseOptions(temperature=temperature, samples=200, seed=rows.start)
    return judge(part_of(log, rows), parts, options)


def estimator_rows(
    scenario: str,
    estimator: str,
    judged: list[tuple[CandidateReport, ...]],
    truths: Mapping[str, float],
    behaviour: float,
) -> Iterator[Row]:
    """Error, bias, coverage and ranking of one estimator over all logs, and its mean SharpeRatio@k."""
    true_C = np.array(list(truths.values()))
    figures_LC = [[candidate.estimates[estimator] for candidate in found] for found in judged]
    values_LC = np.array([[figure.value for figure in figures] for figures in figures_LC])
    covered = [
        figure.low <= truth <= figure.high
        for figures in figures_LC
        for figure, truth in zip(figures, true_C, strict=True)
    ]
    yield row(scenario, estimator, "root mean square error", float(np.sqrt(((values_LC - true_C) ** 2).mean())))
    yield row(scenario, estimator, "mean error", float((values_LC - true_C).mean()))
    yield row(scenario, estimator, "95 % intervals that hold the true value", share(covered), "%")
    best = share(values_LC.argmax(axis=1) == true_C.argmax())
    yield row(scenario, estimator, "logs with the best run first", best, "%")
    right = share((np.argsort(-values) == np.argsort(-true_C)).all() for values in values_LC)
    yield row(scenario, estimator, "logs with all runs in their order", right, "%")
    for k in (2, 3):
        found = [portfolio(values, true_C, k=k, behaviour=behaviour) for values in values_LC.tolist()]
        ratios = [each.sharpe_ratio for each in found if each.sharpe_ratio is not None]
        yield row(scenario, estimator, f"SharpeRatio@{k}, mean", float(np.mean(ratios)))
        yield row(
            scenario, estimator, f"safety violations@{k}, mean", 100 * np.mean([p.violations for p in found]), "%"
        )


def share(truths: object) -> float:
    """How many of them hold, in percent."""
    return 100 * float(np.mean(list(truths)))


def row(scenario: str, subject: str, x: str, value: float, unit: str = "") -> Row:
    """A row of the table."""
    shown = round(float(value), 4 if unit != "%" else 1)
    config = f"{LOGS} logs of {ROWS} rows, {CANDIDATES} candidates, exploration {EXPLORATION}, {CLICKS}"
    return {
        "question": f"choose: {scenario}", "subject": subject, "x": x, "median": shown, "unit": unit,
        "threads": torch.get_num_threads(), "config": config,
    }  # fmt: skip


def main(work: Path) -> None:
    """Write results/choose.csv."""
    runs = trained(work)
    rows = [each for scenario in SCENARIOS for each in scenario_rows(scenario, runs)]
    for each in rows:
        print(each["question"], each["subject"], each["x"], each["median"], sep="\t")
    record(Path(__file__).parent / "results" / "choose.csv", rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
