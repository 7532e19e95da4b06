"""Index backend `exact`: every label is scored, the answer is the true top k."""

from __future__ import annotations

from xmc.api import IndexSpec, hookimpl


@hookimpl
def xmc_indexes() -> list[IndexSpec]:
    """Declare the backend."""
    return [
        IndexSpec(
            "exact",
            "xmc_index_exact.exact:Exact",
            exact=True,
            summary="true top k with exact ties, torch, CPU or GPU",
        )
    ]
