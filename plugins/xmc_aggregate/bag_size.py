"""How large should a bag be? The risk of a linear model that learns from noisy bag means, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LinearModel:
    """What the closed forms are about: labels x · theta + noise of the least-squares fit, with x ~ N(0, I) of width d.

    `signal` is the length of theta, `noise` the standard deviation of a label around x · theta, `queries_per_dimension`
    is psi = n / d > 1, both large. `bag_noise` is the scale b of the Laplace noise on the mean of a bag of one query;
    for epsilon-label-DP on labels of range R it is R / epsilon. A bag of k has b / k.
    Reference: Javanmard et al., ICLR 2024, its corollaries, derived anew.
    """

    signal: float
    noise: float
    queries_per_dimension: float
    bag_noise: float = 0.0

    def __post_init__(self) -> None:
        if not (self.signal > 0 and self.noise >= 0 and self.bag_noise >= 0 and self.queries_per_dimension > 1):
            raise ValueError(
                f"signal > 0, noise >= 0, bag_noise >= 0, queries_per_dimension > 1 are needed, got {self}"
            )

    def bag_level_risk(self, k: int) -> float:
        """Expected squared error of theta from the bag-level loss; infinite when there are fewer bags than dimensions.

        >>> round(LinearModel(1.0, 0.7, 6).bag_level_risk(2), 3)
        0.245
        """
        psi, b = self.queries_per_dimension, self.bag_noise / k
        return math.inf if psi <= k else (self.noise**2 + 2 * b * b * k) / (psi / k - 1)

    def instance_level_risk(self, k: int) -> float:
        """Expected squared error of theta from the instance-level loss.

        >>> round(LinearModel(1.0, 0.7, 6).instance_level_risk(2), 3)
        0.349
        """
        psi, b = self.queries_per_dimension, self.bag_noise / k
        bias = self.signal**2 * ((k - 1) ** 2 / k**2 + (k - 1) / (k * k * (psi - 1)))
        return bias + self.noise**2 / (k * (psi - 1)) + 2 * b * b / (psi - 1)

    def best_bag_size(self, loss: Literal["bag-level", "instance-level"], *, largest: int) -> int:
        """The bag size of the least risk, 1 to `largest`: always 1 for the bag-level loss.

        >>> models = [LinearModel(1.0, 0.5, 12, bag_noise=2 / epsilon) for epsilon in (0.5, 1, 4)]
        >>> [model.best_bag_size("instance-level", largest=11) for model in models]
        [4, 2, 1]
        """
        risk = self.bag_level_risk if loss == "bag-level" else self.instance_level_risk
        return min(range(1, largest + 1), key=risk)
