"""How long does a training step of the label side take, and what do more labels cost? 10,000 to 1,000,000 of them.

Run: python benchmarks/bench_step_time.py [--threads 2] [--labels 10000 100000] [--dimensions 128] [--repeats 9]

The encoder is left out: queries come as vectors, and a step gives their gradient. Subjects:
- factored Z-loss: `zloss.factored`, learn and update, 100 steps at a time with the stabilisation among them;
- dense log-softmax: scores, cross entropy, autograd, torch's SGD;
- three products: queries by labels and the two gradients, in the blocks of xmc's scorer: the least that any loss over
  all labels can cost without its own arithmetic;
- decoupled softmax, soft top-k: xmc's scorer over all labels, without the optimiser; to be compared with the products;
- sampled labels: decoupled softmax over 4,096 random labels and the positives, with SGD on their rows.
A subject whose first step takes longer than --limit-s is left out; one above a second gets 3 repeats.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from record import alternate, record, spread
from torch import Tensor
from torch.nn import functional

from xmc.api import HeadBatch, HeadContext, Positives
from xmc.train.label_scope import all_labels, sampled_labels
from xmc.train.scorer import rows_in_memory, score_batch, score_rows
from xmc_dexml.decoupled_softmax import DecoupledSoftmax
from xmc_dexml.soft_top_k import SoftTopK
from xmc_zloss.factored_head import FactoredHead
from xmc_zloss.z_loss import ZLoss

RESULTS = Path(__file__).parent / "results" / "step_time.csv"
BASELINES = {"decoupled softmax": "three products", "soft top-k": "three products"}
DENSE = "dense log-softmax"
FACTORED = "factored Z-loss"
STEPS_AT_ONCE = {FACTORED: 100}
SAMPLE = 4096
SCORE_MEMORY_MB = 512
SLOW_S, SLOW_REPEATS = 1.0, 3
RATE = 1e-3


class Problem:
    """One batch against one label matrix."""

    def __init__(self, labels: int, dimension: int, batch: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels_LD = torch.randn(labels, dimension, generator=generator).div_(dimension**0.5)
        self.queries_QD = functional.normalize(torch.randn(batch, dimension, generator=generator), dim=1)
        targets_Q = torch.randperm(labels, generator=generator)[:batch].numpy().astype(np.int32)
        self.positives = Positives(np.arange(batch + 1), targets_Q, np.ones(batch, dtype=np.float32))
        self.rows_at_once = rows_in_memory(labels, SCORE_MEMORY_MB)

    def subjects(self) -> dict[str, Callable[[], object]]:
        """What to run by name."""
        options = FactoredHead(learning_rate=1.0)
        context = HeadContext(len(self.labels_LD), self.labels_LD.shape[1], "dot", loss=ZLoss(0.3, 12.0))
        return {
            FACTORED: partial(self.factored, options.build(context)),
            "sampled labels": partial(self.sampled, np.random.default_rng(0)),
            "three products": self.products,
            "decoupled softmax": partial(self.scored, DecoupledSoftmax()),
            "soft top-k": partial(self.scored, SoftTopK()),
            DENSE: self.dense,
        }

    def factored(self, head) -> None:
        batch = HeadBatch(0, np.arange(len(self.queries_QD)), self.positives)
        for _ in range(STEPS_AT_ONCE[FACTORED]):
            head.learn(self.queries_QD, batch)
            head.update(RATE)

    def dense(self) -> Tensor:
        leaf_LD, leaf_QD = self.labels_LD.requires_grad_(), self.queries_QD.clone().requires_grad_()
        functional.cross_entropy(leaf_QD @ leaf_LD.T, torch.from_numpy(self.positives.label_rows).long()).backward()
        torch.optim.SGD([leaf_LD], lr=RATE).step()
        leaf_LD.grad = None
        self.labels_LD.requires_grad_(False)
        return leaf_QD.grad

    def products(self) -> Tensor:
        queries_QD, labels_LD = self.queries_QD, self.labels_LD
        gradient_LD, gradient_QD = torch.zeros_like(labels_LD), torch.empty_like(queries_QD)
        scores_RL = queries_QD.new_empty(min(self.rows_at_once, len(queries_QD)), len(labels_LD))
        for start in range(0, len(queries_QD), self.rows_at_once):
            part_RD = queries_QD[start : start + self.rows_at_once]
            part_RL = score_rows(part_RD, labels_LD, out=scores_RL[: len(part_RD)])
            torch.mm(part_RL, labels_LD, out=gradient_QD[start : start + self.rows_at_once])
            gradient_LD.addmm_(part_RL.T, part_RD)
        return gradient_QD

    def scored(self, loss) -> object:
        pairs = all_labels(self.positives).pairs
        return score_batch(self.queries_QD, self.labels_LD, pairs, loss, pool="row", rows_at_once=self.rows_at_once)

    def sampled(self, generator: np.random.Generator) -> object:
        scope = sampled_labels(self.positives, labels=len(self.labels_LD), sample=SAMPLE, generator=generator)
        rows_C = torch.from_numpy(scope.label_rows).long()
        scored = score_batch(
            self.queries_QD,
            self.labels_LD[rows_C],
            scope.pairs,
            DecoupledSoftmax(),
            pool="row",
            rows_at_once=rows_in_memory(len(rows_C), SCORE_MEMORY_MB),
            log_inclusion_C=scope.log_inclusion_C,
        )
        return self.labels_LD.index_add_(0, rows_C, scored.labels_gradient_CD, alpha=-RATE)


def peak_memory_mb(run: Callable[[], object]) -> float:
    """Resident memory that a run needs on top of what was there before (Linux; else NaN)."""
    status, refs = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not refs.exists():
        run()
        return float("nan")

    def read(field: str) -> float:
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier runs freed must not serve this one unseen
    refs.write_text("5", encoding="ascii")  # the peak starts again from what is resident now
    before = read("VmRSS")
    run()
    return read("VmHWM") - before


def measure(problem: Problem, options: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds per step and megabytes of every subject that is fast enough."""
    seconds: dict[str, list[float]] = {}
    memory, fast, slow = {}, {}, {}
    for subject, run in problem.subjects().items():
        started = time.perf_counter()
        memory[subject] = peak_memory_mb(run)
        first = (time.perf_counter() - started) / STEPS_AT_ONCE.get(subject, 1)
        if first <= options.limit_s:
            (slow if first > SLOW_S else fast)[subject] = run
    seconds |= alternate(fast, repeats=options.repeats, warmups=1)
    seconds |= alternate(slow, repeats=min(SLOW_REPEATS, options.repeats), warmups=0)
    return {name: [each / STEPS_AT_ONCE.get(name, 1) for each in values] for name, values in seconds.items()}, memory


def rows_of(
    labels: int, dimension: int, seconds: dict[str, list[float]], memory: dict[str, float]
) -> list[dict[str, object]]:
    """Two rows a subject, time and memory."""
    rows: list[dict[str, object]] = []
    for subject, values in seconds.items():
        median, p20, p80 = (1e3 * each for each in spread(values))
        baseline = BASELINES.get(subject, DENSE)
        ratio = 1e3 * statistics.median(seconds[baseline]) / median if baseline in seconds else float("nan")
        shown = f"labels {labels:8d}  d {dimension}  {subject:18s} {median:9.2f} ms  {ratio:7.2f}x"
        print(f"{shown}  {memory[subject]:8.1f} MB", flush=True)
        shared = {"subject": subject, "baseline": baseline, "x": labels}
        times = {"median": f"{median:.3f}", "p20": f"{p20:.3f}", "p80": f"{p80:.3f}", "ratio": f"{ratio:.3f}"}
        rows.append({"question": f"step time vs labels, d={dimension}", "unit": "ms per step", **shared, **times})
        size = {"median": f"{memory[subject]:.1f}", "unit": "MB above the label matrix"}
        rows.append({"question": f"step memory vs labels, d={dimension}", **shared, **size})
    return rows


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    sizes = [10_000, 50_000, 100_000, 200_000, 500_000, 1_000_000]
    parser.add_argument("--labels", type=int, nargs="+", default=sizes)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--limit-s", type=float, default=60.0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    config = f"batch={options.batch} positives=1 repeats={options.repeats} sample={SAMPLE} float32"
    rows: list[dict[str, object]] = []
    for dimension in options.dimensions:
        for labels in options.labels:
            seconds, memory = measure(Problem(labels, dimension, options.batch), options)
            rows += rows_of(labels, dimension, seconds, memory)
            record(options.results, [{**row, "threads": options.threads, "config": config} for row in rows])


if __name__ == "__main__":
    main()
