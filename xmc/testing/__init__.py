"""The conformance kit: what a loss and an index of a plugin must keep to, as one call each."""

from xmc.testing.check_index import check_index
from xmc.testing.check_loss import check_loss
from xmc.testing.conformance import ConformanceError

__all__ = ["ConformanceError", "check_index", "check_loss"]
