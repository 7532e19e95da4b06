"""Index backends of faiss, searched through one guarded door: no -1, no silent device, no NaN."""

from __future__ import annotations

from xmc.api import IndexSpec, hookimpl


@hookimpl
def xmc_indexes() -> list[IndexSpec]:
    """Declare the backends."""
    return [
        IndexSpec("flat", "xmc_index_faiss.flat:Flat", summary="all labels scored by faiss in float32"),
        IndexSpec("ivf", "xmc_index_faiss.ivf:Ivf", summary="cells around centres; vectors, 8-bit or product codes"),
        IndexSpec("hnsw", "xmc_index_faiss.hnsw:Hnsw", summary="a graph of near labels; high recall, CPU"),
        IndexSpec("cagra", "xmc_index_faiss.cagra:Cagra", summary="a graph of near labels, GPUs with cuVS only"),
        IndexSpec("factory", "xmc_index_faiss.factory:Factory", summary="any index of faiss's factory strings, CPU"),
    ]
