"""What a run must have been prepared for before it can be asked: probabilities, label sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xmc.retrieve.fitted import CALIBRATION_KIND, LABEL_SETS_KIND
from xmc.serve.refusals import RefusedError

if TYPE_CHECKING:
    from xmc.retrieve.retriever import Retriever


def require_calibrated(retriever: Retriever, what: str) -> None:
    """Refuse what only probabilities can answer. Raises: RefusedError 409."""
    fitted = retriever.fitted
    if fitted.calibration is None:
        outdated = fitted.outdated(CALIBRATION_KIND)
        state = f"those of this run were fitted {outdated}" if outdated else "this run gives none"
        message = f"{what} is a probability, and {state}: its operator can run `xmc check calibrate`."
        raise RefusedError(409, "not_calibrated", message)


def require_label_sets(retriever: Retriever) -> None:
    """Refuse label sets where there are none. Raises: RefusedError 409."""
    fitted = retriever.fitted
    if fitted.label_sets is None:
        outdated = fitted.outdated(LABEL_SETS_KIND)
        state = f"the label sets of this run were fitted {outdated}" if outdated else "this run gives no label sets"
        raise RefusedError(409, "not_conformal", f"{state}: its operator can run `xmc check conformal`.")
