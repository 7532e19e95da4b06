"""Deep hedging: an LSTM that hedges a European call under Heston paths with proportional costs, by K-FAC and by Adam.

    python benchmarks/bench_hedging.py [--seeds 5] [--steps 150]

Every step sees fresh paths. The loss of a path is L + aversion / 2 (L - p)², L what the seller pays in percent of the
first price (payoff, costs, less gains of trading) and p a trained number: at the best p the mean is mean-variance risk.
Learning rates come from the same grid, chosen on a seed of its own by the risk after `--steps` steps on validation
paths; the figures are those of other seeds on test paths. Adam goes on until it has used K-FAC's processor seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from record import record
from torch import Tensor, nn

from xmc_kfac.optimizer import KFac

RESULTS = Path(__file__).parent / "results" / "hedging.csv"
QUESTION = "hedging a call under Heston with costs"
DATES, YEARS, COST, AVERSION = 20, 1 / 12, 0.002, 0.3
BATCH, JUDGED = 256, 20_000
RATES = (0.003, 0.01, 0.03, 0.1)
TUNING_SEED, VALIDATION_SEED, TEST_SEED = 1000, 2000, 3000


def heston_paths(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Prices and variances at DATES + 1 dates, (N, DATES + 1); Euler steps with the variance cut at 0."""
    start, speed, mean, noise, correlation = 0.04, 1.5, 0.04, 0.5, -0.7
    step = YEARS / DATES
    price, variance = torch.ones(count), torch.full((count,), start)
    prices, variances = [price], [variance]
    for _ in range(DATES):
        first, second = torch.randn(2, count, generator=generator)
        second = correlation * first + (1 - correlation**2) ** 0.5 * second
        width = (variance.clamp(min=0) * step).sqrt()
        price = price * torch.exp(width * first - width.square() / 2)
        variance = variance + speed * (mean - variance.clamp(min=0)) * step + noise * width * second
        prices.append(price)
        variances.append(variance.clamp(min=0))
    return torch.stack(prices, dim=1), torch.stack(variances, dim=1)


class Hedger(nn.Module):
    """The position at each date from moneyness, volatility and time, read by an LSTM; `premium` is p."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.reader = nn.LSTM(3, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)
        self.premium = nn.Parameter(torch.tensor(2.0))

    def payments(self, prices: Tensor, variances: Tensor) -> Tensor:
        """L of each path, in percent of the first price."""
        left = torch.linspace(1, 1 / DATES, DATES).expand(len(prices), DATES)
        seen = torch.stack([prices[:, :-1].log() * 20, variances[:, :-1].sqrt() * 5 - 1, left], dim=2)
        positions = self.out(self.reader(seen)[0])[..., 0].sigmoid()
        gains = (positions * prices.diff(dim=1)).sum(dim=1)
        around = torch.cat([torch.zeros(len(prices), 1), positions, torch.zeros(len(prices), 1)], dim=1)
        costs = COST * (around.diff(dim=1).abs() * prices).sum(dim=1)
        return 100 * ((prices[:, -1] - 1).clamp(min=0) + costs - gains)

    def loss(self, prices: Tensor, variances: Tensor) -> Tensor:
        """The mean over paths."""
        paid = self.payments(prices, variances)
        return (paid + AVERSION / 2 * (paid - self.premium).square()).mean()


@dataclass(frozen=True)
class Point:
    """Where a training stands: processor seconds of its steps, and cost, variance and risk on the judged paths."""

    step: int
    seconds: float
    cost: float
    variance: float
    risk: float


def kfac(model: Hedger, rate: float) -> torch.optim.Optimizer:
    """K-FAC with the defaults of the plugin but a wider KL bound; its premium learns as Adam's does."""
    return KFac(model.parameters(), model, lr=rate, others_rate=0.03, factor_steps=5, inverse_steps=20, kl_clip=1e-2)


def adam(model: Hedger, rate: float) -> torch.optim.Optimizer:
    """Adam as it is."""
    groups = [
        {"params": [*model.reader.parameters(), *model.out.parameters()]},
        {"params": [model.premium], "lr": 0.03},
    ]
    return torch.optim.Adam(groups, lr=rate)


def training(
    make: Callable[[Hedger, float], torch.optim.Optimizer], rate: float, *, seed: int, judged: tuple[Tensor, Tensor]
) -> Iterator[Point]:
    """A point every 25 steps, without end."""
    torch.manual_seed(seed)
    model, generator = Hedger(), torch.Generator().manual_seed(seed)
    optimizer, seconds, step = make(model, rate), 0.0, 0
    while True:
        paths = heston_paths(BATCH, generator)
        started = time.process_time()
        optimizer.zero_grad()
        model.loss(*paths).backward()
        optimizer.step()
        seconds += time.process_time() - started
        step += 1
        if step % 25 == 0:
            with torch.no_grad():
                paid = model.payments(*judged)
            cost, variance = float(paid.mean()), float(paid.var())
            yield Point(step, seconds, cost, variance, cost + AVERSION / 2 * variance)


def best_rate(make: Callable[[Hedger, float], torch.optim.Optimizer], steps: int) -> float:
    """The rate of the grid with the least risk on validation paths."""
    judged = heston_paths(JUDGED, torch.Generator().manual_seed(VALIDATION_SEED))

    def risk(rate: float) -> float:
        for point in training(make, rate, seed=TUNING_SEED, judged=judged):
            if point.step >= steps:
                print(make.__name__, rate, point, flush=True)
                return point.risk if np.isfinite(point.risk) else np.inf
        raise AssertionError  # a training does not end

    return min(RATES, key=risk)


def rows_of(subject: str, x: str, points: list[Point], config: str) -> list[dict[str, object]]:
    """Median over seeds of each figure; in the columns of an interval stand the least and the largest."""
    shared = {"question": QUESTION, "subject": subject, "baseline": "" if subject == "adam" else "adam"}
    rows: list[dict[str, object]] = []
    for name, unit in (
        ("cost", "% of price"),
        ("variance", "%²"),
        ("risk", "% of price"),
        ("seconds", "s"),
        ("step", ""),
    ):
        values = [float(getattr(point, name)) for point in points]
        numbers = {"median": round(float(np.median(values)), 4), "low95": round(min(values), 4)}
        rows.append({**shared, "x": f"{name} {x}", **numbers, "high95": round(max(values), 4), "unit": unit})
    return [{**row, "threads": 1, "config": config} for row in rows]


def main() -> None:
    """Write results/hedging.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rates = {make: best_rate(make, options.steps) for make in (adam, kfac)}
    judged = heston_paths(JUDGED, torch.Generator().manual_seed(TEST_SEED))
    reached: dict[str, list[Point]] = {"kfac": [], "adam at equal steps": [], "adam at equal seconds": []}
    for seed in range(options.seeds):
        last = next(p for p in training(kfac, rates[kfac], seed=seed, judged=judged) if p.step >= options.steps)
        reached["kfac"].append(last)
        for point in training(adam, rates[adam], seed=seed, judged=judged):
            if point.step == options.steps:
                reached["adam at equal steps"].append(point)
            if point.step >= options.steps and point.seconds >= last.seconds:
                reached["adam at equal seconds"].append(point)
                break
        print({name: points[-1] for name, points in reached.items()}, flush=True)
    shared = f"batch={BATCH} dates={DATES} hidden=16 seeds={options.seeds} (low and high: least and largest seed)"
    rows = rows_of("kfac", "after the steps", reached["kfac"], f"rate={rates[kfac]} {shared}")
    for name in ("equal steps", "equal seconds"):
        rows += rows_of("adam", f"at {name}", reached[f"adam at {name}"], f"rate={rates[adam]} {shared}")
    record(RESULTS, rows)


if __name__ == "__main__":
    main()
