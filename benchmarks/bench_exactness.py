"""How exact are the losses in single precision, and the factored head after a thousand steps? Against naive float64.

Run: python benchmarks/bench_exactness.py [--labels 1000 100000]

Every loss that is installed and needs no teacher, at its default options: value and gradient in float32 against
`loss_oracles` (or, for a loss without an oracle there, against itself in float64), from the same scores. Errors are
over the whole batch: the largest absolute one, and that one relative to the largest absolute value of the truth.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from loss_oracles import ORACLES, Oracle
from record import record
from torch import Tensor
from torch.nn import functional

from xmc.api import HeadBatch, HeadContext, Loss, LossInputs, Positives
from xmc.plugin_manager import load_plugins
from xmc_zloss.factored_head import FactoredHead
from xmc_zloss.z_loss import ZLoss

RESULTS = Path(__file__).parent / "results" / "exactness.csv"
SCALES = {"small scores, 0.001": 1e-3, "scores of size 1": 1.0, "extreme scores, 1,000": 1e3}
QUERIES, POSITIVES = 8, 3
STEPS, LABELS, WIDTH, RATE = 1000, 2000, 32, 2.0


def problem(labels: int, scale: float) -> tuple[Tensor, Tensor]:
    """Normal scores and three weighted positives a query."""
    generator = torch.Generator().manual_seed(0)
    relevance_QC = torch.zeros(QUERIES, labels)
    for row_C in relevance_QC:
        row_C[torch.randperm(labels, generator=generator)[:POSITIVES]] = (
            torch.rand(POSITIVES, generator=generator) + 0.5
        )
    return scale * torch.randn(QUERIES, labels, generator=generator), relevance_QC


def by_loss(loss: Loss, scores_QC: Tensor, relevance_QC: Tensor) -> Tensor:
    return loss(LossInputs.from_dense(scores_QC, relevance_QC.to(scores_QC.dtype)))


def value_and_gradient(function: Oracle, scores_QC: Tensor, relevance_QC: Tensor) -> dict[str, Tensor]:
    leaf_QC = scores_QC.clone().requires_grad_()
    value_Q = function(leaf_QC, relevance_QC.to(scores_QC.dtype))
    return {"value": value_Q.detach().double(), "gradient": torch.autograd.grad(value_Q.sum(), leaf_QC)[0].double()}


def rows_of_loss(name: str, loss: Loss, labels: int, scale: str) -> list[dict[str, object]]:
    """Absolute and relative error of value and gradient."""
    scores_QC, relevance_QC = problem(labels, SCALES[scale])
    oracle = ORACLES.get(name)
    found = value_and_gradient(partial(by_loss, loss), scores_QC, relevance_QC)
    true = value_and_gradient(oracle or partial(by_loss, loss), scores_QC.double(), relevance_QC.double())
    baseline = "formula in float64" if oracle else "itself in float64"
    rows = []
    for part in ("value", "gradient"):
        absolute = float((found[part] - true[part]).abs().max())
        relative = absolute / max(float(true[part].abs().max()), torch.finfo(torch.float32).tiny)
        shared = {"question": f"exactness of the {part}, {scale}", "subject": name, "baseline": baseline, "x": labels}
        rows.append({**shared, "median": f"{absolute:.3g}", "unit": "max abs error"})
        rows.append({**shared, "median": f"{relative:.3g}", "unit": "max error / max true"})
        print(f"{labels:7d}  {scale:22s} {name:32s} {part:8s} abs {absolute:9.2e}  rel {relative:9.2e}", flush=True)
    return rows


def rows_of_head() -> list[dict[str, object]]:
    """The factored head in float32 after many steps at a high rate, against dense stochastic gradient descent."""
    generator = torch.Generator().manual_seed(1)
    centres_CD = functional.normalize(torch.randn(50, WIDTH, generator=generator), dim=1) * WIDTH**0.5
    targets_C = torch.randint(0, LABELS, (50,), generator=generator, dtype=torch.int32)
    loss, oracle = ZLoss(), ORACLES["zloss.z-loss"]
    head = FactoredHead(RATE).build(HeadContext(LABELS, WIDTH, "dot", loss=loss))
    rows = torch.arange(LABELS)
    start_LD = head.matrix.rows(rows)
    dense_LD = start_LD.clone().requires_grad_()
    worst = 0.0
    for step in range(STEPS):
        chosen = torch.randint(0, 50, (16,), generator=generator)
        queries_QD = centres_CD[chosen] + 0.3 * torch.randn(16, WIDTH, generator=generator)
        positives = Positives(np.arange(17), targets_C[chosen].numpy(), np.ones(16, dtype=np.float32))
        learned = head.learn(queries_QD, HeadBatch(step, chosen.numpy(), positives))
        head.update(1.0)
        leaf_QD = queries_QD.double().requires_grad_()
        relevance_QL = functional.one_hot(targets_C[chosen].long(), LABELS).double()
        oracle(leaf_QD @ dense_LD.T, relevance_QL).mean().backward()
        error = (learned.queries_gradient_QD - leaf_QD.grad).norm() / leaf_QD.grad.norm()
        worst = max(worst, float(error))
        with torch.no_grad():
            dense_LD -= RATE * dense_LD.grad
            dense_LD.grad = None
    true_LD = dense_LD.detach()
    final = float((head.matrix.rows(rows) - true_LD).norm() / true_LD.norm())
    moved = float((true_LD - start_LD).norm() / start_LD.norm())
    print(f"factored head, {STEPS} steps: W {final:.2e}, worst query gradient {worst:.2e}; W moved by {moved:.2f}")
    shared = {"subject": "zloss.factored", "baseline": "dense SGD in float64", "x": LABELS, "unit": "error / norm"}
    return [
        {**shared, "question": f"label matrix after {STEPS} steps", "median": f"{final:.3g}"},
        {**shared, "question": f"worst query gradient of {STEPS} steps", "median": f"{worst:.3g}"},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--labels", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    offers = [
        offer for offer in load_plugins().offers["loss"] if "teacher" not in getattr(offer.spec.load(), "needs", ())
    ]
    for offer in offers:
        for labels in options.labels:
            for scale in SCALES:
                rows += rows_of_loss(offer.full_name, offer.spec.load()(), labels, scale)
    rows += rows_of_head()
    config = f"queries={QUERIES} positives={POSITIVES} default options"
    record(options.results, [{**row, "threads": options.threads, "config": config} for row in rows])


if __name__ == "__main__":
    main()
