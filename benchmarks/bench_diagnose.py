"""Does `xmc diagnose` say when to stop? Predicted stopping step against the best one of the validation curve.

    XMC_BENCHMARK_DATA=FOLDER python benchmarks/bench_diagnose.py [--queries 300 1000] [--epochs 30] [--work FOLDER]

A classifier head is trained on a part of EURLEX57K over an encoder that stays as it began (its learning rate is all but
0), so that its features are fixed, as the theory has them; by the squared error, which the theory speaks of, and by the
decoupled softmax, which it does not. The rate is constant and nothing stops early; validation queries are 1,000 of the
dev split. A run that the work folder has already is not trained again.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

from quality import imported
from record import record

from xmc.data.dataset import load_dataset, take_train
from xmc.engine.carried import Carried
from xmc.engine.diagnosing import diagnose_head
from xmc.engine.run_config import resolve
from xmc.engine.run_folder import remove_run
from xmc.engine.training import run_training
from xmc.plugin_manager import load_plugins

RESULTS = Path(__file__).parent / "results" / "diagnose.csv"
LOSSES = {"squared error": ("loss.name=zloss.sparse-mse",), "decoupled softmax": ()}
SETTINGS = (
    "encoder.dimension=128", "encoder.ngrams_longest=0", "encoder.vocabulary_size=30000", "encoder.shared=false",
    "head.name=classifier", "head.text=false", "head.scale=0.001", "train.learning_rate=1e-12", "train.warmup_share=0",
    "train.schedule=constant", "train.patience=0", "train.batch_size=50", "train.validation_queries=1000",
    "train.label_text_share=0",
)  # fmt: skip
Row = dict[str, object]


def rows_of(loss: str, queries: int, epochs: int, data: str, work: Path) -> list[Row]:
    """Train, diagnose, and compare."""
    plugins, run = load_plugins(), work / f"{loss.replace(' ', '-')}-{queries}"
    settings = (*SETTINGS, *LOSSES[loss], f"data.train_queries={queries}", f"train.epochs={epochs}")
    config = resolve(plugins, plugin="dexml", settings=settings, flags={"data": {"name": data}})
    if not (run / "train.json").is_file():
        remove_run(run)  # of a call that was stopped
        carried = Carried(take_train(load_dataset(data), queries, seed=config.train.seed))
        run_training(config, run, plugins=plugins, carried=carried)
    found = diagnose_head(run, plugins=plugins, device="cpu")
    with (run / "curve.csv").open(encoding="utf-8", newline="") as file:
        curve = [(int(row["step"]), float(row["validation_p1"])) for row in csv.DictReader(file)]
    head, best = found.diagnosis, max(p1 for _, p1 in curve)
    good = [step for step, p1 in curve if p1 >= best - 0.01]
    figures = {
        "predicted stop": (head.stopping_step or "", "step"),
        "best validation P@1": (found.measured_step, "step"),
        "first within a point of the best": (good[0], "step"),
        "last within a point of the best": (good[-1], "step"),
        "last": (curve[-1][0], "step"),
        "P@1 at the best": (round(100 * best, 2), "%"),
        "P@1 at the end": (round(100 * curve[-1][1], 2), "%"),
        "flow, predicted best time": (f"{head.stopping_time:.4g}", ""),
        "flow, measured best time": (f"{head.measured_time:.4g}", ""),
        "flow, never stopping": (round(100 * (head.measured_T[-1] / head.measured_T.min() - 1), 2), "% more error"),
        "signal over noise": (f"{head.snr:.3g}", ""),
        "R^2 of the head's place": (round(head.run_fit or 0.0, 3), ""),
        "advice": (head.advice.advice, ""),
    }
    subject = f"{loss}, {queries} queries"
    shared = {"question": "when to stop a classifier on EURLEX57K", "subject": subject, "threads": 1}
    config_text = " ".join(settings)
    return [
        {**shared, "x": x, "median": value, "unit": unit, "config": config_text} for x, (value, unit) in figures.items()
    ]


def main() -> None:
    """Measure both losses at each number of queries."""
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", nargs="+", type=int, default=[300, 1000])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        data = imported("eurlex57k", work)
        for queries in options.queries if data else ():
            for loss in LOSSES:
                rows += rows_of(loss, queries, options.epochs, str(data), work)
                print(*(f"{row['x']}: {row['median']}" for row in rows[-13:]), sep="\n", flush=True)
    if rows:
        record(options.results, rows)


if __name__ == "__main__":
    main()
