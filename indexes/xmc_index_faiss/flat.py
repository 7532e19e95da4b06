"""Backend `faiss.flat`: faiss scores every label."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xmc.api import validate_similarity
from xmc_index_faiss._import import import_faiss, require_faiss
from xmc_index_faiss.built_report import report_of
from xmc_index_faiss.gpu import SPREADS, Gpu, place
from xmc_index_faiss.index import FaissIndex
from xmc_index_faiss.label_vectors import FaissVectors
from xmc_index_faiss.saved import read_saved
from xmc_index_faiss.stream import label_blocks, largest_number, require_float16

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Flat:
    """`faiss.IndexFlatIP`; `exact` answers the same with ties settled and is faster, this one is here to compare.

    On GPUs, `float16` halves the memory (and rounds the vectors), and `spread` puts whole copies (`replicas`) or parts
    (`shards`) of the index on all of them.

    >>> import torch
    >>> Flat().build([torch.eye(3)], similarity="dot", device="cpu").search(torch.eye(3)[:1], k=1).label_rows.tolist()
    [0]
    """

    float16: bool = False
    spread: Literal["one", "replicas", "shards"] = "one"

    def __post_init__(self) -> None:
        if self.spread not in SPREADS:
            raise ValueError(f"spread must be one of {', '.join(SPREADS)}, got {self.spread!r}")

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> FlatIndex:
        """Add chunks of label vectors (n, D), in row order.

        Raises: DataError when there is no vector or widths differ; NonFiniteError naming rows; ConfigError for numbers
        that float16 does not hold; DeviceError; PluginError when faiss is not installed.
        """
        started = time.perf_counter()
        validate_similarity(similarity)
        gpu = self._place(device)
        faiss = import_faiss()
        index: Any = None
        for block_ND in label_blocks(embeddings, similarity):
            index = index or faiss.IndexFlatIP(block_ND.shape[1])
            index.add(block_ND)
        return self._index(index, gpu, similarity, build_s=time.perf_counter() - started)

    def load(self, folder: Path, *, device: str) -> FlatIndex:
        """Open what `save` wrote.

        Raises: ArtifactError when it cannot be read or is another index; ConfigError as `build`; DeviceError.
        """
        gpu = self._place(device)
        saved = read_saved(folder, types=("IndexFlat", "IndexFlatIP"))
        return self._index(saved.faiss_index, gpu, saved.similarity, build_s=saved.build_s)

    def require_device(self, device: str) -> None:
        """Refuse a device that this index cannot lie on. Raises: DeviceError; ConfigError; PluginError."""
        require_faiss()
        self._place(device)

    def estimated_bytes(self, *, labels: int, dimension: int) -> int:
        """The vectors."""
        return labels * dimension * (2 if self.float16 else 4)

    @classmethod
    def proposals(cls, *, labels: int, dimension: int) -> list[Flat]:
        """None: `exact` answers the same, ties settled, in less time."""
        del labels, dimension
        return []

    def _place(self, device: str) -> Gpu | None:
        return place(device, backend="faiss.flat", spread=self.spread, float16=self.float16)

    def _index(self, index: Any, gpu: Gpu | None, similarity: str, *, build_s: float) -> FlatIndex:
        report = report_of(
            index,
            self,
            backend="faiss.flat",
            similarity=similarity,
            memory_bytes=self.estimated_bytes(labels=index.ntotal, dimension=index.d),
            build_s=build_s,
            gpu=gpu,
        )
        if self.float16:
            numbers = import_faiss().rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
            require_float16(largest_number(numbers), option="index.float16", instead="Leave the option out.")
        vectors = FaissVectors(index, true=True)
        return FlatIndex(index, vectors, report, gpu=gpu.copy(index) if gpu else None)


@dataclass(frozen=True, eq=False)
class FlatIndex(FaissIndex):
    """All labels are scored, and with a filter the allowed ones only."""

    def _most_scanned(self, queries: int, k: int) -> int:
        """One query is told to faiss with the filter; a batch shares vectors that are brought together."""
        return 0 if queries == 1 else super()._most_scanned(queries, k)
