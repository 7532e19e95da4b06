"""What rounding and underflow can change the scores of a certificate by, and which vectors are too long for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xmc.rounding_bounds import float32_product_error, rounding_bounds
from xmc.vectors import MAX_NORM

if TYPE_CHECKING:
    from xmc.rounding_bounds import Norms


class NotCertifiedError(ValueError):
    """A text of which nothing is certified, and why."""


@dataclass(frozen=True)
class LabelNorms:
    """The length of the longest label vector: as rounding errors grow with it, and as what underflow takes does.

    They differ for a head that maps queries: what is lost of a mapped query does not shrink with the map.
    """

    rounding: float
    underflow: float


def score_margins(norms: Norms, largest_norm: float, *, terms: int, scales: Norms | float = 1.0) -> Norms:
    """A gap of two scores above this is above 0 in exact numbers, in the encoder and in the index.

    Each score is made there and here, of `terms` features and columns: four rounding bounds. Near zero each feature may
    lose 3 x 2^-126 (operands, product, sum) in each column, times what `scales` stands for: the length of the other
    vector, and what the score is divided by before it is compared.

    >>> score_margins(1.0, 1.0, terms=300) < 1e-4
    True
    """
    further = float32_product_error()
    return 4 * rounding_bounds(norms, largest_norm, dimension=terms, further=further, scales=3 * terms * scales)


def gap_margin(size: float, labels: LabelNorms, *, terms: int, divisor: float = 1.0) -> float:
    """`score_margins` of texts of at most this size (see `TextEdits.size`), divided by `divisor` at most.

    Raises: NotCertifiedError where something may overflow, or be too long for an index.
    """
    require_short(size, labels.rounding, size * labels.rounding / (labels.underflow or 1.0))
    return score_margins(size, labels.rounding, terms=terms, scales=(1 + divisor) * (1 + labels.underflow))


def require_short(*norms: float) -> None:
    """Refuse vectors that no index takes, and that float32 could overflow with. Raises: NotCertifiedError."""
    if not all(norm <= MAX_NORM for norm in norms):
        raise NotCertifiedError(f"its vectors may be longer than {MAX_NORM:g}, or are no finite numbers")
