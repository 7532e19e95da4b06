"""The laws: loss or error by parameters and pairs, error by loss."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FLOPS_A_PAIR = 6.0  # forward and backward, for each parameter and pair: C = 6 N D


@dataclass(frozen=True)
class SizeLaw:
    """Loss(C, M) = E + (a M^eta + b M^-eta) C^-eta, with compute C = 6 N D and pairs per parameter M = D / N.

    It is E + A N^-2eta + B D^-2eta with A = a 6^-eta and B = b 6^-eta. Where the runs did not differ in N, `a` is 0 and
    what N costs is in E. The error 1 - P@1 is fitted by the same form.

    Reference: Gadre et al. 2024, equation 4.

    >>> law = SizeLaw(irreducible=1.0, a=2.0, b=3.0, eta=0.25)
    >>> float(round(law(np.array([1e6]), np.array([1e6]))[0], 6)) == round(1 + 5 * 6**-0.25 / 1e3, 6)
    True
    """

    irreducible: float
    a: float
    b: float
    eta: float

    def __call__(self, parameters_R: Array, pairs_R: Array) -> Array:
        """The loss (or error) of runs with so many parameters and pairs."""
        compute_R, ratio_R = FLOPS_A_PAIR * parameters_R * pairs_R, pairs_R / parameters_R
        return self.irreducible + (self.a * ratio_R**self.eta + self.b * ratio_R**-self.eta) * compute_R**-self.eta

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class ErrorLaw:
    """Err(loss) = eps - k exp(-gamma loss), the error being 1 - P@1.

    Reference: Gadre et al. 2024, equation 5.

    >>> round(float(ErrorLaw(eps=0.9, k=0.8, gamma=1.0)(np.array([0.0]))[0]), 6)
    0.1
    """

    eps: float
    k: float
    gamma: float

    def __call__(self, loss_R: Array) -> Array:
        """The error of runs with such a loss, between 0 and 1."""
        return np.clip(self.eps - self.k * np.exp(-self.gamma * loss_R), 0.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
