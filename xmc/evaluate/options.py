"""What a user may set about an evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xmc.errors import ConfigError, grouped

MOST_SAMPLES = 100_000  # of a bootstrap; so many move the ends of an interval no more


@dataclass(frozen=True)
class EvaluateOptions:
    """Cut-offs, propensity constants, band thresholds and the bootstrap of one evaluation; all go into its report.

    `bootstrap_samples` 0 switches the intervals off. `graded_ndcg` adds nDCG with the weights of the positives as gain.
    `auc_negatives` asks for the AUC over the pooled scores of all queries, with so many negatives of each (0 = off,
    500 is usual); the search then goes that deep.

    Raises: ConfigError when a value is not allowed.

    >>> EvaluateOptions(ks=(0,))
    Traceback (most recent call last):
    xmc.errors.ConfigError: evaluate.ks must be one or more of 1..10,000, got (0,).
    """

    ks: tuple[int, ...] = (1, 3, 5, 10, 100)
    propensity_a: float = 0.55
    propensity_b: float = 1.5
    head_min: int = 50
    torso_min: int = 10
    bootstrap_samples: int = 1000
    bootstrap_seed: int = 0
    graded_ndcg: bool = False
    auc_negatives: int = 0

    def __post_init__(self) -> None:
        _require(
            bool(self.ks) and 1 <= min(self.ks) <= max(self.ks) <= 10_000, "ks", "one or more of 1..10,000", self.ks
        )
        _require(0 <= self.propensity_a < math.inf, "propensity_a", "0 or more", self.propensity_a)
        _require(0 < self.propensity_b < math.inf, "propensity_b", "above 0", self.propensity_b)
        _require(self.torso_min >= 1, "torso_min", "at least 1", self.torso_min)
        _require(self.head_min >= self.torso_min, "head_min", f"at least torso_min ({self.torso_min})", self.head_min)
        samples = self.bootstrap_samples
        _require(0 <= samples <= MOST_SAMPLES, "bootstrap_samples", f"0 (off) to {MOST_SAMPLES:,}", samples)
        _require(self.bootstrap_seed >= 0, "bootstrap_seed", "0 or more", self.bootstrap_seed)
        _require(0 <= self.auc_negatives <= 10_000, "auc_negatives", "0 (off) to 10,000", self.auc_negatives)


def _require(holds: bool, key: str, allowed: str, got: object) -> None:
    if not holds:
        raise ConfigError(f"evaluate.{key} must be {allowed}, got {grouped(got)}.")
