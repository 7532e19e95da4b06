"""The conformance kit: what a loss, a head, an index and others must keep to, as one call each."""

from xmc.testing.check_augmentation import check_augmentation
from xmc.testing.check_check import check_check
from xmc.testing.check_head import check_head
from xmc.testing.check_index import check_index
from xmc.testing.check_loss import check_loss
from xmc.testing.check_optimizer import check_optimizer
from xmc.testing.conformance import ConformanceError

__all__ = [
    "ConformanceError",
    "check_augmentation",
    "check_check",
    "check_head",
    "check_index",
    "check_loss",
    "check_optimizer",
]
