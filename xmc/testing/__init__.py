"""The conformance kit: what a loss, an index, a check and an augmentation must keep to, as one call each."""

from xmc.testing.check_augmentation import check_augmentation
from xmc.testing.check_check import check_check
from xmc.testing.check_index import check_index
from xmc.testing.check_loss import check_loss
from xmc.testing.conformance import ConformanceError

__all__ = ["ConformanceError", "check_augmentation", "check_check", "check_index", "check_loss"]
