"""Train and evaluate runs through the command line, and measure what each cost as a process of its own."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmc.machine import cores

DATA_VARIABLE = "XMC_BENCHMARK_DATA"


@dataclass(frozen=True)
class Cost:
    """What a command needed: wall and processor seconds, and the peak memory of the process."""

    wall_s: float
    processor_s: float
    peak_mb: float


@dataclass(frozen=True)
class Subject:
    """One trained and evaluated run: its report and what training and evaluating cost."""

    name: str
    report: dict[str, Any]
    training: dict[str, Any]
    train_cost: Cost
    evaluate_cost: Cost
    config: str


def source_folder(name: str) -> Path | None:
    """The raw data set `name` in the folder that XMC_BENCHMARK_DATA names; None, with a message, where it is absent."""
    root = os.environ.get(DATA_VARIABLE, "")
    folder = Path(root) / name
    if root and folder.is_dir():
        return folder
    print(f"skipped: no folder {name}/ with the data set's JSON lines; set {DATA_VARIABLE} to the folder that holds it")
    return None


def imported(name: str, work: Path) -> str | None:
    """The data set `name` imported into `work`, or None where its source is absent."""
    source = source_folder(name)
    if source is None:
        return None
    folder = work / name
    if not (folder / "train.parquet").is_file():
        xmc("import", str(source), "--out", str(folder))
    return str(folder)


def xmc(*arguments: str) -> Cost:
    """Run one `xmc` command to its end and measure it.

    Raises: SystemExit when it fails.
    """
    return measured([sys.executable, "-c", "from xmc.cli.main import main; main()", *arguments], f"xmc {arguments[0]}")


def measured(command: Sequence[str], what: str, *, log: Path | None = None) -> Cost:
    """Run a command to its end and measure it; what it prints goes to `log` if given.

    Raises: SystemExit when it fails.
    """
    with tempfile.TemporaryDirectory() as folder, log.open("wb") if log else nullcontext() as output:
        found = Path(folder) / "cost.json"
        launch = [sys.executable, str(Path(__file__).with_name("launch.py")), str(found), *command]
        subprocess.run(launch, stdout=output, stderr=output, check=True)
        answer = json.loads(found.read_text(encoding="utf-8"))
    if answer["exit_code"]:
        said = f"; see {log}" if log else ""
        raise SystemExit(f"{what} failed with exit code {answer['exit_code']}{said}")
    return Cost(**answer["cost"])


def threads_of(training: dict[str, Any]) -> int:
    """The threads of a training as its plan says; a head that is fitted in one go has no plan and takes all cores."""
    return int(training.get("plan", {}).get("threads") or cores())


def run_subject(
    name: str, *, data: str, plugin: str, settings: Sequence[str] = (), work: Path, split: str = "test"
) -> Subject:
    """Train, index and evaluate one configuration in a fresh run folder."""
    run = work / f"run-{name.replace(' ', '-')}"
    shutil.rmtree(run, ignore_errors=True)
    chosen = [part for setting in settings for part in ("--set", setting)]
    train_cost = xmc("train", "--plugin", plugin, "--data", data, "--out", str(run), *chosen)
    evaluate_cost = xmc("evaluate", "--run", str(run), "--split", split)
    return Subject(
        name,
        json.loads((run / "report.json").read_text(encoding="utf-8")),
        json.loads((run / "train.json").read_text(encoding="utf-8")),
        train_cost,
        evaluate_cost,
        " ".join([f"plugin={plugin}", *settings, f"split={split}"]),
    )


def quality_rows(
    subject: Subject, question: str, figures: Sequence[str], *, baseline: str = "", group: str = "overall"
) -> list[dict[str, object]]:
    """A row for each figure, in percent with its interval, of all labels or of one band."""
    found = subject.report["evaluation"]
    groups = {band["name"]: band for band in found["bands"]} | {"overall": found["overall"]}
    rows: list[dict[str, object]] = []
    for name in figures:
        figure = groups[group]["figures"].get(name)
        if figure is None:
            continue
        label = name if group == "overall" else f"{name} {group}"
        row = {"question": question, "subject": subject.name, "baseline": baseline, "x": label, "unit": "%"}
        numbers = {
            "median": percent(figure["value"]),
            "low95": percent(figure["low"]),
            "high95": percent(figure["high"]),
        }
        rows.append({**row, **numbers, "threads": threads_of(subject.training), "config": subject.config})
    return rows


def cost_rows(subject: Subject, question: str, *, baseline: str = "") -> list[dict[str, object]]:
    """Rows of wall seconds, processor seconds and peak memory of the training command, and of search speed."""
    cost, search = subject.train_cost, subject.report["search"]
    values = {
        "train wall": (cost.wall_s, "s"),
        "train processor": (cost.processor_s, "s"),
        "train peak memory": (cost.peak_mb, "MB"),
        "encode and search": (1000 / search["queries_per_s"], "ms a query"),
    }
    return [
        {
            "question": question, "subject": subject.name, "baseline": baseline, "x": name, "median": round(value, 3),
            "unit": unit, "threads": threads_of(subject.training), "config": subject.config,
        }
        for name, (value, unit) in values.items()
    ]  # fmt: skip


def percent(value: float | None) -> float | str:
    """A share as a percentage with two decimals; empty for none."""
    return "" if value is None else round(100 * value, 2)


def peak_mb() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
