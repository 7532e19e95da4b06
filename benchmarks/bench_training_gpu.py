"""How long does a step of training take on a GPU, beside the CPU of the same machine and the products alone?

Run: python benchmarks/bench_training_gpu.py [--data icd10cm] [--epochs 2] [--device cuda] [--threads 16]; two minutes.
`--plugin dexml` on a shipped data set: 512 queries a step against all labels, everything from the bags of tokens to
the optimiser. `three products` are queries by labels and the two gradients in float32 on that device, which no loss
over all labels can do without; the ratio is their share of the step. Steps of a run follow each other, so runs are
not made in turn; the first tenth is left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from record import alternate, beside_earlier, record, spread

from xmc.cli.allocator import keep_freed_memory
from xmc.data.dataset import load_dataset
from xmc.engine.run_config import resolve
from xmc.engine.whole_run import make_run
from xmc.plugin_manager import load_plugins

RESULTS = Path(__file__).parent / "results" / "training_gpu.csv"
DIMENSION, BATCH = 256, 512  # of the recipe


class StepTimes:
    """A reporter that notes when each step is done."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def step_finished(self, step: int, total_steps: int, loss: float, queries: int) -> None:
        del step, total_steps, loss, queries
        self.ends.append(time.perf_counter())

    def epoch_finished(self, row: object) -> None:
        del row
        self.ends.append(float("nan"))  # the time of an epoch's end is not that of its next step

    def seconds(self) -> list[float]:
        """Of each step but the first tenth and those that follow the end of an epoch."""
        each = [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]
        return [value for value in each[len(each) // 10 :] if value == value]


def steps_of(data: str, device: str, epochs: int) -> list[float]:
    """Seconds of the steps of a run on this device."""
    times = StepTimes()
    settings = (f"train.device={device}", f"train.epochs={epochs}")
    with tempfile.TemporaryDirectory() as folder:
        plugins = load_plugins()
        config = resolve(plugins, plugin="dexml", settings=settings, flags={"data": {"name": data}})
        make_run(config, Path(folder) / "run", plugins=plugins, reporter=times)
    return times.seconds()


def products(labels: int, device: str) -> Callable[[], None]:
    """The three products of a step; the caller waits until they are done."""
    labels_LD, queries_QD = torch.randn(labels, DIMENSION, device=device), torch.randn(BATCH, DIMENSION, device=device)

    def run() -> None:
        scores_QL = queries_QD @ labels_LD.T
        gradients = scores_QL @ labels_LD, scores_QL.T @ queries_QD
        float(gradients[0][0, 0] + gradients[1][0, 0])

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="icd10cm")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--name", default="xmc", help="of the rows, to hold two versions beside each other")
    parser.add_argument("--without-cpu", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the command does
    labels = len(load_dataset(options.data).labels)
    rows = []
    for device in (options.device, *(() if options.without_cpu else ("cpu",))):
        baseline = f"three products, {device}"
        timed = alternate({baseline: products(labels, device)}, repeats=15, pause_s=0)
        timed[f"{options.name}, {device}"] = steps_of(options.data, device, options.epochs)
        for subject, values in timed.items():
            median, p20, p80 = (1e3 * value for value in spread(values))
            ratio = 1e3 * spread(timed[baseline])[0] / median
            print(f"{subject:28s} {median:8.2f} ms a step  {1 / ratio:.1f} times the products alone", flush=True)
            names = {"question": "training step", "subject": subject, "baseline": baseline, "x": labels}
            figures = {"median": f"{median:.3f}", "p20": f"{p20:.3f}", "p80": f"{p80:.3f}", "ratio": f"{ratio:.3f}"}
            rows.append({**names, **figures, "unit": "ms a step"})
    config = f"{options.data}, dexml, batch={BATCH} dimension={DIMENSION} epochs={options.epochs}"
    measured = [{**row, "threads": options.threads, "config": config} for row in rows]
    record(options.results, beside_earlier(options.results, measured))


if __name__ == "__main__":
    main()
