"""Backend `faiss.hnsw`: a graph of near labels, walked from label to label."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.api import validate_similarity
from xmc_index_faiss._import import LARGEST_INT, import_faiss, require_faiss
from xmc_index_faiss.built_report import report_of
from xmc_index_faiss.device import require_cpu
from xmc_index_faiss.index import FaissIndex
from xmc_index_faiss.label_vectors import FaissVectors
from xmc_index_faiss.saved import read_saved
from xmc_index_faiss.search_options import doubling_ladder, with_options
from xmc_index_faiss.stream import label_blocks

if TYPE_CHECKING:
    from torch import Tensor

FEWEST_LABELS = 2_000  # with fewer, scoring all of them is as quick


@dataclass(frozen=True)
class Hnsw:
    """`faiss.IndexHNSWFlat`: fast at high recall; takes the vectors and a graph beside them; nothing to train.

    `M` neighbours of each label (twice as many on the ground floor); `ef_construction` and `ef` labels are kept in view
    while building and searching. The graph is the same for any cut of the stream and any number of threads.

    >>> import torch
    >>> index = Hnsw().build([torch.eye(3)], similarity="dot", device="cpu")
    >>> index.search(torch.eye(3)[:1], k=1).label_rows.tolist()
    [0]
    """

    M: int = 32
    ef_construction: int = 100
    ef: int = 64
    seed: int = 12345

    def __post_init__(self) -> None:
        if not 2 <= self.M <= 512:
            raise ValueError(f"M must lie in 2..512, got {self.M}")
        for name in ("ef_construction", "ef"):
            if not 1 <= getattr(self, name) <= 1_000_000:
                raise ValueError(f"{name} must lie in 1..1,000,000, got {getattr(self, name)}")
        if not 0 <= self.seed <= LARGEST_INT:
            raise ValueError(f"seed must lie in 0..{LARGEST_INT:,}, got {self.seed}")

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> HnswIndex:
        """Add chunks of label vectors (n, D), in row order.

        Raises: DataError when there is no vector or widths differ; NonFiniteError naming rows; DeviceError; PluginError
        when faiss is not installed.
        """
        started = time.perf_counter()
        validate_similarity(similarity)
        require_cpu(device, backend="faiss.hnsw")
        index: Any = None
        for block_ND in label_blocks(embeddings, similarity):
            index = index or self._empty(block_ND.shape[1])
            index.add(block_ND)
        return self._index(index, similarity, build_s=time.perf_counter() - started)

    def load(self, folder: Path, *, device: str) -> HnswIndex:
        """Open what `save` wrote.

        Raises: ArtifactError when it cannot be read or is another index; DeviceError.
        """
        require_cpu(device, backend="faiss.hnsw")
        saved = read_saved(folder, types=("IndexHNSWFlat",))
        return self._index(saved.faiss_index, saved.similarity, build_s=saved.build_s)

    def require_device(self, device: str) -> None:
        """Refuse a device that this index cannot lie on. Raises: DeviceError; ConfigError; PluginError."""
        require_faiss()
        require_cpu(device, backend="faiss.hnsw")

    def estimated_bytes(self, *, labels: int, dimension: int) -> int:
        """Vectors, neighbours (2 M on the ground floor, M on each floor above, which 1 in M labels reach), offsets."""
        neighbours = 2 * self.M + self.M / (self.M - 1)
        return int(labels * (4 * dimension + 4 * neighbours + 12))

    @classmethod
    def proposals(cls, *, labels: int, dimension: int) -> list[Hnsw]:
        """A thin and a thick graph; none for label sets so small that all labels can be scored."""
        del dimension
        return [cls(M=16), cls(M=32)] if labels >= FEWEST_LABELS else []

    def _empty(self, dimension: int) -> Any:
        faiss = import_faiss()
        index = faiss.IndexHNSWFlat(dimension, self.M, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = self.ef_construction
        index.hnsw.rng = faiss.RandomGenerator(self.seed)
        return index

    def _index(self, index: Any, similarity: str, *, build_s: float) -> HnswIndex:
        report = report_of(
            index,
            self,
            backend="faiss.hnsw",
            similarity=similarity,
            memory_bytes=self.estimated_bytes(labels=index.ntotal, dimension=index.d),
            build_s=build_s,
        )
        return HnswIndex(index, FaissVectors(index, true=True), report, self)


@dataclass(frozen=True, eq=False)
class HnswIndex(FaissIndex):
    """The built graph; `options.ef` is the effort of a search."""

    options: Hnsw

    def search_ladder(self) -> list[Mapping[str, Any]]:
        """`ef` doubled from 8 until it is a quarter of the labels, at most 4,096."""
        return doubling_ladder("ef", 8, min(4096, max(8, self.report.labels // 4)))

    def with_search_options(self, options: Mapping[str, Any]) -> HnswIndex:
        """This index searched with another `ef`.

        Raises: ConfigError for another option or a value that is not allowed.
        """
        changed, report = with_options(self.options, self.report, options, allowed=("ef",))
        return replace(self, options=changed, report=report)

    @property
    def effort(self) -> int:
        """`ef`."""
        return self.options.ef

    @property
    def most_effort(self) -> int:
        """Every label in view."""
        return max(self.report.labels, self.options.ef)

    def _parameters(self, effort: int, selector: Any) -> Any:
        return import_faiss().SearchParametersHNSW(efSearch=effort, sel=selector)

    def _most_scanned(self, queries: int, k: int) -> int:
        return self._scanned_beside_a_walk(queries, k)
