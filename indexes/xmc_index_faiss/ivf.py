"""Backend `faiss.ivf`: labels in cells around centres; a search visits the nearest cells."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xmc.api import ArtifactError, ConfigError, DeviceError, counted, validate_similarity
from xmc_index_faiss._import import LARGEST_INT, require_faiss
from xmc_index_faiss.built_report import report_of
from xmc_index_faiss.cell_bounds import CellBounds
from xmc_index_faiss.cell_storage import STORAGES, CellStorage, most_codes
from xmc_index_faiss.gpu import SPREADS, Gpu, place
from xmc_index_faiss.ivf_index import BOUNDS_FILE, VECTORS_FILE, IvfIndex
from xmc_index_faiss.ivf_proof import Prover
from xmc_index_faiss.ivf_training import trained
from xmc_index_faiss.label_vectors import FaissVectors, HeldVectors, LabelVectors
from xmc_index_faiss.saved import Kind, read_arrays, read_saved
from xmc_index_faiss.stream import HeldBlocks, label_blocks, largest_number, require_float16

if TYPE_CHECKING:
    from torch import Tensor

FEWEST_LABELS = 5_000  # with fewer, scoring all of them is as quick


@dataclass(frozen=True)
class Ivf:
    """Inverted file: k-means makes `nlist` cells (0: 4 x sqrt(labels)), a search visits the `nprobe` nearest.

    `storage` is how the cells hold their labels: `flat` vectors; `fp16` and `sq8`, two bytes and one for each number;
    `pq`, product quantisation into `pq_m` (0: dimension / 8 or so) codes of `pq_bits`. Of codes, `rerank` x k labels
    are scored again with the full vectors, which then stay in memory beside the codes; with `rerank = 0` only codes are
    kept and scores are those of the codes. `exact` visits cells until the true top k is proven, ties and all. k-means
    sees `training_per_cell` vectors a cell, drawn under `seed`. A query that finds fewer than k labels visits more.

    On GPUs, `spread` puts whole copies (`replicas`) or parts (`shards`) of the index on all of them; `exact` is
    for the CPU, certificates are worked out there, and so are filters but for those of codes with full vectors.

    >>> import torch
    >>> index = Ivf().build([torch.eye(3)], similarity="dot", device="cpu")
    >>> index.search(torch.eye(3)[:1], k=2).label_rows.tolist()
    [0, 1]
    """

    nlist: int = 0
    nprobe: int = 16
    storage: Literal["flat", "fp16", "sq8", "pq"] = "flat"
    rerank: int = 4
    exact: bool = False
    pq_m: int = 0
    pq_bits: int = 8
    training_per_cell: int = 64
    seed: int = 1234
    spread: Literal["one", "replicas", "shards"] = "one"

    def __post_init__(self) -> None:
        if self.storage not in STORAGES:
            raise ValueError(f"storage must be one of {', '.join(STORAGES)}, got {self.storage!r}")
        if self.spread not in SPREADS:
            raise ValueError(f"spread must be one of {', '.join(SPREADS)}, got {self.spread!r}")
        least = {"nlist": 0, "nprobe": 1, "rerank": 0, "pq_m": 0, "training_per_cell": 1, "seed": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        for name in ("training_per_cell", "seed"):
            if getattr(self, name) > LARGEST_INT:
                raise ValueError(f"{name} must be at most {LARGEST_INT:,}, got {getattr(self, name)}")
        if not 4 <= self.pq_bits <= 12:
            raise ValueError(f"pq_bits must lie in 4..12, got {self.pq_bits}")
        if self.exact and self.storage != "flat" and self.rerank == 0:
            raise ValueError("exact needs the full vectors: use storage 'flat', or rerank of at least 1")

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> IvfIndex:
        """Hold the stream, train on a sample of it, then move it into the cells.

        Raises: DataError when there is no vector, widths differ or there are too few to train on; ConfigError for
        options that do not go with the labels; NonFiniteError naming rows; DeviceError; PluginError without faiss.
        """
        started = time.perf_counter()
        validate_similarity(similarity)
        gpu = self._place(device)
        held = HeldBlocks(label_blocks(embeddings, similarity))
        index = self._empty(held.labels, held.dimension)
        rows = max(self.training_per_cell * self.cells(held.labels), self._cell_storage.fewest_training_rows)
        sample_SD = held.sample(rows, seed=self.seed)
        index = trained(index, sample_SD, gpu)
        del sample_SD
        if self.storage == "fp16":
            largest = held.largest_number() + largest_number(index.quantizer.reconstruct_n())
            option = "index.storage 'fp16', which holds differences to centres,"
            require_float16(largest, option=option, instead="Use storage 'flat' or 'sq8'.")
        matrix_LD = None
        if self._keeps_vectors:
            matrix_LD = np.empty((held.labels, held.dimension), dtype=np.float32)
        for block_ND in held.consume():
            if matrix_LD is not None:
                matrix_LD[index.ntotal : index.ntotal + len(block_ND)] = block_ND
            index.add(block_ND)
        index.make_direct_map()
        vectors = self._vectors(index, matrix_LD)
        bounds = CellBounds.of(index, vectors) if vectors.true else None
        return self._index(index, vectors, bounds, gpu, similarity, build_s=time.perf_counter() - started)

    def load(self, folder: Path, *, device: str) -> IvfIndex:
        """Open what `save` wrote.

        Raises: ArtifactError when it cannot be read, is another index or has other vectors beside it; DeviceError.
        """
        gpu = self._place(device)
        saved = read_saved(folder, types=(self._cell_storage.faiss_type,))
        if saved.faiss_index.code_size != self._cell_storage.code_bytes(saved.faiss_index.d):
            raise ArtifactError(f"{folder} holds codes of another size than storage {self.storage!r} makes.")
        index = saved.faiss_index
        index.make_direct_map()
        matrix_LD = bounds = None
        if self._keeps_vectors:
            held: dict[str, Kind] = {"vectors_LD": ("float32", (index.ntotal, index.d))}
            matrix_LD = read_arrays(folder / VECTORS_FILE, held)["vectors_LD"]
        if self._proves:
            bounds = CellBounds(**read_arrays(folder / BOUNDS_FILE, CellBounds.kinds(index.nlist, index.d)))
        vectors = self._vectors(index, matrix_LD)
        return self._index(index, vectors, bounds, gpu, saved.similarity, build_s=saved.build_s)

    def require_device(self, device: str) -> None:
        """Refuse a device that this index cannot lie on. Raises: DeviceError; ConfigError; PluginError."""
        require_faiss()
        self._place(device)

    def require_labels(self, labels: int) -> None:
        """Refuse options that do not go with so many labels. Raises: ConfigError, DataError."""
        if self.nlist > labels:
            raise ConfigError(
                f"index.nlist is {self.nlist:,}, and there are {counted(labels, 'label')}: a cell needs at least one.",
                hint="Use nlist = 0, which chooses, or the index 'exact', which is quick for so few labels.",
            )
        self._cell_storage.require_labels(labels)

    def estimated_bytes(self, *, labels: int, dimension: int) -> int:
        """Codes, row numbers and where each row lies (8 bytes each), centres, and the full vectors where kept."""
        storage = self._cell_storage
        each = storage.code_bytes(dimension) + 16 + (4 * dimension if self._keeps_vectors else 0)
        centres = self.cells(labels) * (12 * dimension + 40) if self._proves else self.cells(labels) * 4 * dimension
        return labels * each + centres + storage.book_bytes(dimension)

    @classmethod
    def proposals(cls, *, labels: int, dimension: int) -> list[Ivf]:
        """Vectors as they are; codes with the vectors beside them; codes alone, which take the least memory."""
        if labels < FEWEST_LABELS:
            return []
        whole: list[Ivf] = [cls(), cls(storage="sq8"), cls(storage="sq8", rerank=0)]
        return [*whole, cls(storage="pq", pq_m=most_codes(dimension), rerank=0)]

    def cells(self, labels: int) -> int:
        """The number of cells for so many labels.

        >>> Ivf().cells(1_000_000), Ivf().cells(300), Ivf(nlist=7).cells(300)
        (4000, 7, 7)
        """
        return self.nlist or max(1, min(round(4 * math.sqrt(labels)), labels // 39))

    @property
    def _keeps_vectors(self) -> bool:
        return self.storage != "flat" and self.rerank > 0

    @property
    def _proves(self) -> bool:
        return self.storage == "flat" or self.rerank > 0

    @property
    def _cell_storage(self) -> CellStorage:
        return CellStorage(self.storage, self.pq_m, self.pq_bits)

    def _empty(self, labels: int, dimension: int) -> Any:
        self.require_labels(labels)
        self._cell_storage.require_dimension(dimension)
        index = self._cell_storage.empty_index(dimension, self.cells(labels), seed=self.seed)
        index.cp.seed, index.cp.spherical, index.cp.min_points_per_centroid = self.seed, True, 1
        index.cp.max_points_per_centroid = max(256, self.training_per_cell)
        return index

    def _vectors(self, index: Any, matrix_LD: Any) -> LabelVectors:
        return FaissVectors(index, true=self.storage == "flat") if matrix_LD is None else HeldVectors(matrix_LD)

    def _place(self, device: str) -> Gpu | None:
        gpu = place(device, backend="faiss.ivf", spread=self.spread)
        if gpu and self.exact:
            raise DeviceError(
                f"faiss.ivf proves its answers (exact) on the CPU only, and device {device!r} is a GPU here.",
                hint="Use device='cpu', or the backend 'exact', which runs on a GPU.",
            )
        return gpu

    def _index(
        self,
        index: Any,
        vectors: LabelVectors,
        bounds: CellBounds | None,
        gpu: Gpu | None,
        similarity: str,
        *,
        build_s: float,
    ) -> IvfIndex:
        report = report_of(
            index,
            self,
            backend="faiss.ivf",
            similarity=similarity,
            memory_bytes=self.estimated_bytes(labels=index.ntotal, dimension=index.d),
            build_s=build_s,
            gpu=gpu,
            exact=self.exact,
        )
        prover = None
        if bounds is not None:
            if isinstance(vectors, HeldVectors):
                vectors = replace(vectors, largest_norm=bounds.largest_norm)
            prover = Prover(index, vectors, bounds, index.quantizer.reconstruct_n(), deepen=max(1, self.rerank))
        candidates = vectors if isinstance(vectors, HeldVectors) else None
        there = gpu.copy(index, vectors=candidates) if gpu else None
        return IvfIndex(index, vectors, report, self, prover, gpu=there)
