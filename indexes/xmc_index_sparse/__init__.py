"""Index backend `sparse`: label vectors with few non-zeros, such as the weights of a linear model over words."""

from __future__ import annotations

from xmc.api import IndexSpec, hookimpl


@hookimpl
def xmc_indexes() -> list[IndexSpec]:
    """Declare the backend."""
    return [
        IndexSpec(
            "sparse",
            "xmc_index_sparse.sparse:Sparse",
            exact=True,
            summary="true top k of sparse label vectors, by an inverted table; CPU",
        )
    ]
