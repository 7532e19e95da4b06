"""What a built faiss index says of itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from xmc.api import IndexReport
from xmc_index_faiss._import import import_faiss

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from xmc_index_faiss.gpu import Gpu


def report_of(
    index: Any,
    options: DataclassInstance,
    *,
    backend: str,
    similarity: str,
    memory_bytes: int,
    build_s: float,
    gpu: Gpu | None = None,
    exact: bool = False,
) -> IndexReport:
    """The report of a faiss index that was built with these options."""
    return IndexReport(
        backend=backend,
        similarity=similarity,
        labels=index.ntotal,
        dimension=index.d,
        device_used=gpu.name if gpu else "cpu",
        memory_bytes=memory_bytes,
        build_s=build_s,
        exact=exact,
        options=asdict(options),
        versions={"faiss": import_faiss().__version__},
    )
