"""Quality by loss, everything else equal: each loss at the learning rate that suited it best on dev.

The table of a script has a factor on the recipe's learning rates for each loss. `--tune` trains the loss at a third of
that, at that, and at three times that, and records in results/<data>_tuning.csv what each reached on dev; the best
factor belongs into the table. Without it the table's factors are used, and the test split is read once a subject.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from quality import Subject, cost_rows, imported, percent, quality_rows, run_subject
from record import record

RESULTS = Path(__file__).parent / "results"
AROUND = (1 / 3, 1.0, 3.0)
AUC = "pooled AUC"
Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Variant:
    """One line of a table: settings beside the task's, and the factor on its learning rates, chosen on dev.

    `tuned` is whether `--tune` covers it; what only varies the model keeps the factor of the loss it varies.
    """

    settings: tuple[str, ...]
    factor: float = 1.0
    tuned: bool = True


@dataclass(frozen=True)
class Task:
    """A data set, the recipe and settings that all variants share, and what is measured.

    `learning_rates` are the recipe's, by setting; `choose_by` is the dev figure that decides between factors.
    """

    data: str
    question: str
    plugin: str
    learning_rates: Mapping[str, float]
    figures: tuple[str, ...]
    groups: tuple[str, ...]
    choose_by: str
    variants: Mapping[str, Variant]
    settings: tuple[str, ...] = ("evaluate.auc_negatives=500",)
    baseline: str = "decoupled softmax"


def run_variant(task: Task, name: str, *, factor: float, data: str, work: Path, options: argparse.Namespace) -> Subject:
    """Train and evaluate a variant at a factor of the recipe's learning rates; what its own settings name wins."""
    variant = task.variants[name]
    rates = [f"{key}={rate * factor:.6g}" for key, rate in task.learning_rates.items()]
    return run_subject(
        f"{name} x{factor:.2g}" if options.tune else name,
        data=data,
        plugin=task.plugin,
        settings=(*task.settings, *rates, *variant.settings, *options.set),
        work=work,
        split="dev" if options.tune else "test",
    )


def rows_of(task: Task, subject: Subject) -> Rows:
    """Quality, pooled AUC and the cost of training; the search goes deeper for the AUC, so its time is left out."""
    rows: Rows = []
    for group in task.groups:
        rows += quality_rows(subject, task.question, task.figures, baseline=task.baseline, group=group)
    auc = subject.report["evaluation"]["auc"]
    if auc is not None:
        rows.append({**rows[0], "x": AUC, "median": percent(auc["value"]), "low95": "", "high95": ""})
    costs = cost_rows(subject, task.question, baseline=task.baseline)
    return rows + [row for row in costs if str(row["x"]).startswith("train")]


def final(task: Task, names: Sequence[str], run: Callable[..., Subject], *, results: Path = RESULTS) -> None:
    """Every variant at its factor on test."""
    path = results / f"{task.data}.csv"
    rows = [row for row in _rows_in(path) if row["subject"] in set(task.variants) - set(names)]
    for name in names:
        rows += rows_of(task, run(name, factor=task.variants[name].factor))
        record(path, rows)


def tune(task: Task, names: Sequence[str], run: Callable[..., Subject], *, results: Path = RESULTS) -> None:
    """Every variant at factors around its own, on dev; prints the best."""
    path = results / f"{task.data}_tuning.csv"
    for name in names:
        variant, reached = task.variants[name], {}
        if not variant.tuned:
            continue
        for factor in (variant.factor * around for around in AROUND):
            subject = run(name, factor=factor)
            others = [row for row in _rows_in(path) if row["subject"] != subject.name]
            record(path, [*others, *rows_of(task, subject)])
            reached[factor] = subject.report["evaluation"]["overall"]["figures"][task.choose_by]["value"]
        best = max(reached, key=lambda factor: reached[factor])
        said = ", ".join(f"x{factor:.2g} {100 * value:.2f}" for factor, value in reached.items())
        print(f"{name}: {task.choose_by} on dev {said}; best factor {best:.2g}", flush=True)


def _rows_in(path: Path) -> Rows:
    """The rows of a results file, with the circumstances they were measured in; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [dict(row) for row in csv.DictReader(file)]


def main(task: Task, description: str) -> None:
    """The command line of a script that measures by loss."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="?", type=Path, help="folder for data and runs; a temporary one if left out")
    parser.add_argument("subjects", nargs="*", help=f"some of: {', '.join(task.variants)}; all if left out")
    parser.add_argument("--tune", action="store_true", help="compare learning rates on dev; do not measure on test")
    parser.add_argument("--set", action="append", default=[], help="a further setting of every run: section.key=value")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results, instead of results/")
    options = parser.parse_args()
    unknown = sorted(set(options.subjects) - set(task.variants))
    if unknown:
        parser.error(f"unknown subject '{unknown[0]}'; there are: {', '.join(task.variants)}")
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        data = imported(task.data, work)
        if data is None:
            return

        def run(name: str, *, factor: float) -> Subject:
            return run_variant(task, name, factor=factor, data=data, work=work, options=options)

        names = [name for name in task.variants if not options.subjects or name in options.subjects]
        (tune if options.tune else final)(task, names, run, results=options.results)
