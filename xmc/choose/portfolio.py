"""How good an estimator is at choosing: the true values of the k candidates that it ranks highest.

The top k are a portfolio, of which the best would be kept after an online test: the test costs what they differ.

Reference: Kiyohara et al. 2023, "Towards assessing and benchmarking risk-return tradeoff of off-policy evaluation".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xmc.errors import ConfigError


@dataclass(frozen=True)
class Portfolio:
    """The true values of the top `k` candidates by estimate.

    `best`, `worst`, `mean` and `std` (over k, not k - 1) of them; `violations`, the share below the value of the policy
    that made the log; `sharpe_ratio`, None where std is 0.
    """

    k: int
    best: float
    worst: float
    mean: float
    std: float
    violations: float
    sharpe_ratio: float | None


def portfolio(estimates_C: Sequence[float], truths_C: Sequence[float], *, k: int, behaviour: float) -> Portfolio:
    """Judge the estimates of C candidates by their true values, of those k that they rank highest.

    SharpeRatio@k = (best@k - behaviour) / std@k, `behaviour` being the value of the policy that made the log. That one
    can always be kept, so the return is never below 0. With k = 1, or equal values, std is 0 and the ratio undefined.
    Below `behaviour` a candidate counts as a violation. Of equal estimates the earlier candidate comes first.
    Raises: ConfigError for a k outside 1..C.

    >>> found = portfolio([0.5, 0.4, 0.1], [0.2, 0.4, 0.9], k=2, behaviour=0.3)
    >>> found.best, found.worst, round(found.std, 6), found.violations, round(found.sharpe_ratio, 6)
    (0.4, 0.2, 0.1, 0.5, 1.0)
    """
    if not 1 <= k <= len(estimates_C):
        raise ConfigError(f"k must lie in 1..{len(estimates_C):,}, the number of candidates, got {k}.")
    order_C = np.argsort(-np.asarray(estimates_C, np.float64), kind="stable")
    truths = np.asarray(truths_C, np.float64)[order_C[:k]]
    best, std = float(truths.max()), float(truths.std())
    is_spread = bool((truths != truths[0]).any())
    return Portfolio(
        k=k,
        best=best,
        worst=float(truths.min()),
        mean=float(truths.mean()),
        std=std if is_spread else 0.0,
        violations=float((truths < behaviour).mean()),
        sharpe_ratio=max(best - behaviour, 0.0) / std if is_spread else None,
    )
