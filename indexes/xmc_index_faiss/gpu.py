"""A faiss index on one or several GPUs: how it gets there, and how it is searched.

The memory that faiss lends to a search is not for two at a time, so searches of one index take turns.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass, field
from typing import Any

from xmc.api import DeviceError, XmcWarning, counted
from xmc_index_faiss._import import import_faiss
from xmc_index_faiss.device import choose_gpu, on_gpu
from xmc_index_faiss.gpu_vectors import GpuVectors
from xmc_index_faiss.label_vectors import LabelVectors

SPREADS = ("one", "replicas", "shards")
MOST = 2048  # of k and of nprobe: what the selection kernels of faiss hold


@dataclass(frozen=True)
class Gpu:
    """Where an index is to lie: the GPU `number`, or all GPUs as `replicas` or `shards`; in float16 where asked."""

    number: int
    spread: str = "one"
    float16: bool = False

    @property
    def name(self) -> str:
        """The device as a report names it."""
        return f"cuda:{self.number}" if self.spread == "one" else f"cuda ({self.spread})"

    def require(self, index: Any) -> None:
        """Refuse a CPU index, as yet without labels, of a kind that this GPU cannot take, before the work is done.

        Raises: DeviceError with faiss's reason.
        """
        faiss = import_faiss()
        _free_torch_cache()
        with on_gpu("hold such an index"):
            faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), self.number, index, self._options())

    def train(self, index: Any, sample_SD: Any) -> Any:
        """The CPU index trained by this GPU, on the CPU again.

        Raises: DeviceError with faiss's reason when it has no such index there or memory runs out.
        """
        faiss = import_faiss()
        _free_torch_cache()
        with on_gpu("train"):
            resources = faiss.StandardGpuResources()
            first = faiss.index_cpu_to_gpu(resources, self.number, index, self._options())
            for name in ("seed", "spherical", "min_points_per_centroid", "max_points_per_centroid"):
                setattr(first.cp, name, getattr(index.cp, name))
            first.train(sample_SD)
            return faiss.index_gpu_to_cpu(first)

    def graph(self, vectors_LD: Any, config: Any) -> Any:
        """The CAGRA graph over the vectors, built by this GPU, as an index in the host's memory.

        Raises: DeviceError with faiss's reason when it cannot be built or memory runs out.
        """
        faiss = import_faiss()
        _free_torch_cache()
        with on_gpu("build the graph"):
            resources = faiss.StandardGpuResources()
            built = faiss.GpuIndexCagra(resources, vectors_LD.shape[1], faiss.METRIC_INNER_PRODUCT, config)
            built.train(vectors_LD)  # which faiss goes on reading: the matrix outlives this index
            return faiss.index_gpu_to_cpu(built)

    def copy(self, index: Any, *, vectors: LabelVectors | None = None) -> OnGpu:
        """A copy of the CPU index there, to search, and of the full `vectors` of its labels, if they have room.

        Raises: DeviceError with faiss's reason when it has no such index there or memory runs out.
        """
        _free_torch_cache()
        with on_gpu("copy the index"):
            faiss = import_faiss()
            if self.spread == "one":
                resources = [faiss.StandardGpuResources()]
                copies = faiss.index_cpu_to_gpu(resources[0], self.number, index, self._options())
            else:
                numbers = all_gpus()
                resources = [faiss.StandardGpuResources() for _ in numbers]
                copies = faiss.index_cpu_to_gpu_multiple_py(resources, index, self._options(), numbers)
        return OnGpu(copies, resources, self._copy_vectors(vectors, (index.ntotal, index.d)) if vectors else None)

    def _copy_vectors(self, vectors: LabelVectors, shape: tuple[int, int]) -> GpuVectors | None:
        with on_gpu("copy the vectors", who="torch"):
            there = GpuVectors.copy(vectors, shape, self.number)
        if there is None:
            warnings.warn(
                f"the vectors of {counted(shape[0], 'label')} ({4 * shape[0] * shape[1] >> 20:,} MB) "
                "have no room on the GPU "
                f"{self.number} beside their index, or torch does not see it: the CPU scores what the GPU finds and "
                "scans filters, which takes many times as long. Answers are the same.",
                XmcWarning,
                stacklevel=3,
            )
        return there

    def _options(self) -> Any:
        options = import_faiss().GpuMultipleClonerOptions()
        options.useFloat16 = self.float16
        options.shard = self.spread == "shards"
        return options


@dataclass(frozen=True, eq=False)
class OnGpu:
    """An index in the memory of one or several GPUs, and what faiss works with there, which it does not keep alive.

    `vectors` are the full ones of its labels on one of these GPUs, where they were wanted and had room.
    """

    index: Any
    resources: list[Any]
    vectors: GpuVectors | None = None
    lock: Any = field(default_factory=threading.Lock)

    def search(self, queries_QD: Any, k: int, nprobe: int = 0, *, parameters: Any = None) -> tuple[Any, Any]:
        """Scores and rows (Q, K), with so many cells visited (0: the index has no cells), or told faiss's parameters.

        Raises: DeviceError for more than faiss can select on a GPU, and with faiss's reason when it fails.
        """
        if k > MOST:
            raise DeviceError(
                f"faiss selects at most {MOST:,} labels on a GPU, got {k:,} (k, or rerank x k).",
                hint="Use a smaller k or device='cpu'.",
            )
        with self.lock, on_gpu("search"):
            if nprobe:
                import_faiss().GpuParameterSpace().set_index_parameter(self.index, "nprobe", nprobe)
            scores_QK, rows_QK = self.index.search(queries_QD, k, params=parameters)
        return scores_QK, rows_QK


def all_gpus() -> list[int]:
    """The numbers of the GPUs that faiss sees."""
    return list(range(import_faiss().get_num_gpus()))


def place(device: str, *, backend: str, spread: str = "one", float16: bool = False) -> Gpu | None:
    """The GPU for this device, None for the CPU, where options that are for GPUs are refused.

    Raises: DeviceError; ConfigError.
    """
    number = choose_gpu(device, backend=backend)
    if number is not None:
        return Gpu(number, spread, float16)
    asked = [f"spread = {spread!r}"] * (spread != "one") + ["float16"] * float16
    if asked:
        raise DeviceError(
            f"{backend}: {' and '.join(asked)} is for GPUs, and device {device!r} is the CPU here.",
            hint="Use device='cuda', or leave the option out.",
        )
    return None


def _free_torch_cache() -> None:
    """Give what torch holds unused to the GPU back, where faiss can take it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
