"""K-FAC beside AdamW: steps and processor seconds until validation P@1 reaches a target.

    python benchmarks/bench_kfac.py [--data eurlex57k icd10cm] [--work FOLDER]

EURLEX57K: the `lstm` encoder under a classifier head without label texts, on the first 1,500 training documents.
ICD-10-CM: the `static` encoder, whose table learns by AdamW either way, so that K-FAC is in the label matrix alone.
Both optimisers have the same grid of learning rates; the rate is the one with the best validation P@1 at the end, and
the target is 95 % of the worse optimiser's best, so that both reach it. EURLEX57K is read from XMC_BENCHMARK_DATA.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from check_runs import first_queries
from quality import imported
from record import beside_earlier, record

from xmc.engine.run_config import resolve
from xmc.engine.training import run_training
from xmc.plugin_manager import load_plugins
from xmc.train.reporter import SilentReporter

RESULTS = Path(__file__).parent / "results" / "kfac.csv"
RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
OPTIMIZERS = ("adamw", "kfac")
FIRST_QUERIES = 1500
SHARED = ("head.name=classifier", "train.label_text_share=0", "train.patience=0", "train.schedule=constant")
SETTINGS = {
    "eurlex57k": (
        *("encoder.name=lstm", "encoder.max_tokens=32", "encoder.hidden=64", "encoder.token_dimension=64"),
        *("encoder.dimension=96", "encoder.vocabulary_size=8000", "head.text=false", "train.validation_queries=300"),
        *("train.batch_size=128", "train.epochs=10"),
    ),
    "icd10cm": (
        *("encoder.dimension=64", "train.label_scope=sampled", "train.sampled_labels=1024"),
        *("train.batch_size=512", "train.epochs=4", "train.validation_queries=300"),
    ),
}


@dataclass
class Watch(SilentReporter):
    """Steps, processor seconds and validation P@1 at the end of each epoch."""

    started: float = field(default_factory=time.process_time)
    points: list[tuple[int, float, float]] = field(default_factory=list)

    def epoch_finished(self, row: Mapping[str, float]) -> None:
        """Note it; the clock has the validations as well, which are the same for all."""
        self.points.append((int(row["step"]), time.process_time() - self.started, row["validation_p1"]))


def rate_setting(data: str, optimizer: str, rate: float) -> str:
    """The setting of the rate that is chosen: of the encoder's table where K-FAC has no layer in the encoder."""
    if optimizer == "kfac" and data == "icd10cm":
        return f"optimizer.others_rate={rate}"
    return f"train.learning_rate={rate}"


def trained(kind: str, data: str, optimizer: str, rate: float) -> Watch:
    """Train once in this process."""
    plugins, watch = load_plugins(), Watch()
    settings = [*SETTINGS[kind], *SHARED, f"optimizer.name={optimizer}", rate_setting(kind, optimizer, rate)]
    config = resolve(plugins, plugin="dexml", settings=settings, flags={"data": {"name": data}})
    with tempfile.TemporaryDirectory() as folder:
        watch.started = time.process_time()
        run_training(config, Path(folder) / "run", plugins=plugins, reporter=watch)
    print(kind, optimizer, rate, [(step, round(s, 1), round(p1, 4)) for step, s, p1 in watch.points], flush=True)
    return watch


def rows_of(kind: str, data: str) -> list[dict[str, object]]:
    """Train the grid; rows of the best P@1 and of the way to the target."""
    found = {name: {rate: trained(kind, data, name, rate) for rate in RATES} for name in OPTIMIZERS}
    rate_of = {name: max(runs, key=lambda rate: runs[rate].points[-1][2]) for name, runs in found.items()}
    best = {name: found[name][rate] for name, rate in rate_of.items()}
    target = 0.95 * min(max(p1 for _, _, p1 in watch.points) for watch in best.values())
    rows: list[dict[str, object]] = []
    for name, watch in best.items():
        step, seconds, _ = next(point for point in watch.points if point[2] >= target)
        values = {
            "last validation P@1": (100 * watch.points[-1][2], "%"),
            "processor seconds in all": (watch.points[-1][1], "s"),
            f"steps to {100 * target:.1f} %": (step, "steps"),
            f"processor seconds to {100 * target:.1f} %": (seconds, "s"),
        }
        config = " ".join([*SETTINGS[kind], *SHARED, rate_setting(kind, name, rate_of[name])])
        shared = {"question": f"kfac on {kind}", "subject": name, "threads": 1, "config": config}
        for x, (value, unit) in values.items():
            baseline = "" if name == "adamw" else "adamw"
            rows.append({**shared, "baseline": baseline, "x": x, "median": round(value, 2), "unit": unit})
    return rows


def main() -> None:
    """Write results/kfac.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        for kind in options.data:
            data = kind if kind == "icd10cm" else imported(kind, work)
            if data and kind == "eurlex57k":
                data = first_queries(Path(data), FIRST_QUERIES)
            if data:
                record(RESULTS, beside_earlier(RESULTS, rows_of(kind, data)))


if __name__ == "__main__":
    main()
