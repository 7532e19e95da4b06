"""Backend `faiss.cagra`: a graph of near labels, built and walked on a GPU by NVIDIA's cuVS."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xmc.api import validate_similarity
from xmc_index_faiss._import import import_faiss, require_faiss
from xmc_index_faiss.built_report import report_of
from xmc_index_faiss.cagra_index import GRAPH_TYPE, MOST_IN_VIEW, CagraIndex
from xmc_index_faiss.device import choose_cuvs_gpu
from xmc_index_faiss.gpu import Gpu
from xmc_index_faiss.label_vectors import FaissVectors
from xmc_index_faiss.saved import read_saved
from xmc_index_faiss.stream import HeldBlocks, label_blocks

if TYPE_CHECKING:
    from torch import Tensor

BUILDS = ("ivf_pq", "nn_descent")
FEWEST_LABELS = 256  # with fewer there is nothing to walk: the GPU scores them all


@dataclass(frozen=True)
class Cagra:
    """`faiss.GpuIndexCagra`, for a GPU and a faiss built with cuVS.

    Each label gets `graph_degree` neighbours (even), pruned from the `intermediate_graph_degree` nearest that
    `build_by` finds: `ivf_pq`, or `nn_descent` in `nn_descent_rounds`. A search keeps `itopk` labels in view (at most
    1,024; k, where that is more) and walks on from `search_width` of them at a time; the labels found are scored again
    with their full vectors. Fewer than 256 labels get no graph: the GPU scores them all. The graph is saved as faiss's
    `IndexHNSWCagra`. One more build of the same vectors may make another graph; one graph is walked by
    one block of threads up to 512 labels in view, beyond by several, whose answers may change from search to search.
    """

    graph_degree: int = 64
    intermediate_graph_degree: int = 128
    build_by: Literal["ivf_pq", "nn_descent"] = "ivf_pq"
    nn_descent_rounds: int = 20
    itopk: int = 64
    search_width: int = 1

    def __post_init__(self) -> None:
        if self.build_by not in BUILDS:
            raise ValueError(f"build_by must be one of {', '.join(BUILDS)}, got {self.build_by!r}")
        if not 4 <= self.graph_degree <= 512 or self.graph_degree % 2:
            raise ValueError(f"graph_degree must be even and lie in 4..512, got {self.graph_degree}")
        if not self.graph_degree <= self.intermediate_graph_degree <= 1024:
            raise ValueError(
                f"intermediate_graph_degree must lie in {self.graph_degree} (graph_degree)..1024, "
                f"got {self.intermediate_graph_degree}"
            )
        if not 1 <= self.itopk <= MOST_IN_VIEW:
            raise ValueError(f"itopk must lie in 1..{MOST_IN_VIEW:,}, got {self.itopk:,}")
        for name in ("nn_descent_rounds", "search_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> CagraIndex:
        """Hold the stream as one matrix and let the GPU build the graph over it.

        Raises: DeviceError without a GPU or a faiss with cuVS, or when the GPU fails; DataError when there is no vector
        or widths differ; NonFiniteError naming rows; PluginError when faiss is not installed.
        """
        started = time.perf_counter()
        validate_similarity(similarity)
        gpu = Gpu(choose_cuvs_gpu(device, backend="faiss.cagra"))
        vectors_LD = _matrix(HeldBlocks(label_blocks(embeddings, similarity)))
        if len(vectors_LD) < FEWEST_LABELS:
            index = import_faiss().IndexFlatIP(vectors_LD.shape[1])
            index.add(vectors_LD)
        else:
            index = gpu.graph(vectors_LD, self._config(gpu))
        return self._index(index, gpu, similarity, build_s=time.perf_counter() - started)

    def load(self, folder: Path, *, device: str) -> CagraIndex:
        """Open what `save` wrote, and copy it to the GPU.

        Raises: ArtifactError when it cannot be read or is another index; DeviceError as `build`.
        """
        gpu = Gpu(choose_cuvs_gpu(device, backend="faiss.cagra"))
        saved = read_saved(folder, types=(GRAPH_TYPE, "IndexFlat", "IndexFlatIP"))
        return self._index(saved.faiss_index, gpu, saved.similarity, build_s=saved.build_s)

    def require_device(self, device: str) -> None:
        """Refuse a device that this index cannot lie on. Raises: DeviceError; ConfigError; PluginError."""
        require_faiss()
        choose_cuvs_gpu(device, backend="faiss.cagra")

    def estimated_bytes(self, *, labels: int, dimension: int) -> int:
        """Vectors, neighbours and offsets, in the host's memory; the GPU holds as much, and the vectors once more."""
        upper_floors = 4 * (self.graph_degree // 2) / max(1, self.graph_degree // 2 - 1)
        return int(labels * (4 * dimension + 4 * self.graph_degree + upper_floors + 12))

    @classmethod
    def proposals(cls, *, labels: int, dimension: int) -> list[Cagra]:
        """None: it works on some machines only."""
        del labels, dimension
        return []

    def _config(self, gpu: Gpu) -> Any:
        faiss = import_faiss()
        config = faiss.GpuIndexCagraConfig()
        config.device = gpu.number
        config.graph_degree = self.graph_degree
        config.intermediate_graph_degree = self.intermediate_graph_degree
        config.build_algo = (
            faiss.graph_build_algo_IVF_PQ if self.build_by == "ivf_pq" else faiss.graph_build_algo_NN_DESCENT
        )
        config.nn_descent_niter = self.nn_descent_rounds
        return config

    def _index(self, index: Any, gpu: Gpu, similarity: str, *, build_s: float) -> CagraIndex:
        report = report_of(
            index,
            self,
            backend="faiss.cagra",
            similarity=similarity,
            memory_bytes=self.estimated_bytes(labels=index.ntotal, dimension=index.d),
            build_s=build_s,
            gpu=gpu,
        )
        vectors = FaissVectors(index, true=True)
        return CagraIndex(index, vectors, report, self, gpu=gpu.copy(index, vectors=vectors))


def _matrix(held: HeldBlocks) -> np.ndarray[Any, Any]:
    """The stream as one matrix (L, D), each block forgotten once it is copied."""
    matrix_LD = np.empty((held.labels, held.dimension), dtype=np.float32)
    filled = 0
    for block_ND in held.consume():
        matrix_LD[filled : filled + len(block_ND)] = block_ND
        filled += len(block_ND)
    return matrix_LD
