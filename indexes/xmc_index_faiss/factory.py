"""Backend `faiss.factory`: any index that faiss's factory strings can name."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.api import ConfigError, DataError, counted, validate_similarity
from xmc_index_faiss._import import LARGEST_INT, import_faiss, require_faiss, saved_bytes
from xmc_index_faiss.built_report import report_of
from xmc_index_faiss.device import require_cpu
from xmc_index_faiss.factory_index import FactoryIndex, inner_index
from xmc_index_faiss.label_vectors import FaissVectors
from xmc_index_faiss.saved import read_saved
from xmc_index_faiss.stream import HeldBlocks, label_blocks

if TYPE_CHECKING:
    from torch import Tensor

_EXAMPLES = "'IVF1024,Flat', 'HNSW32', 'OPQ16_64,IVF1024,PQ16', 'SQ8', 'IVF1024,RaBitQ'"


@dataclass(frozen=True)
class Factory:
    """`faiss.index_factory(dimension, factory)` over inner products, searched with parameters by their faiss names.

    `search` sets `nprobe` of an inverted file, `efSearch` of an HNSW graph, `k_factor` of a refined index. Scores are
    those of faiss: where the index holds codes, those of the codes. It trains on `training_rows` vectors drawn under
    `seed`. NSG graphs are refused: faiss may not come to an end building one over clustered vectors.

    >>> import torch
    >>> index = Factory("IVF2,Flat", search={"nprobe": 2}).build([torch.eye(80)], similarity="dot", device="cpu")
    >>> index.search(torch.eye(80)[:1], k=1).label_rows.tolist()
    [0]
    """

    factory: str = "HNSW32"
    search: dict[str, int] = field(default_factory=dict)
    training_rows: int = 250_000
    seed: int = 1234

    def __post_init__(self) -> None:
        if not self.factory.strip():
            raise ValueError(f"factory must be a faiss factory string such as {_EXAMPLES}")
        if "NSG" in self.factory:
            raise ValueError(
                f"factory must not be an NSG graph, whose building by faiss may not end, got {self.factory!r}; "
                "take an HNSW graph"
            )
        if self.training_rows < 1:
            raise ValueError(f"training_rows must be at least 1, got {self.training_rows}")
        if not 0 <= self.seed <= LARGEST_INT:
            raise ValueError(f"seed must lie in 0..{LARGEST_INT:,}, got {self.seed}")
        for name, value in self.search.items():
            if value < 1:
                raise ValueError(f"search.{name} must be at least 1, got {value}")

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> FactoryIndex:
        """Hold the stream, train on a sample of it if the index wants training, then add it.

        Raises: ConfigError for a factory string or a search parameter that is not there; DataError when there is no
        vector, widths differ or there are too few to train on; NonFiniteError naming rows; DeviceError; PluginError.
        """
        started = time.perf_counter()
        validate_similarity(similarity)
        require_cpu(device, backend="faiss.factory")
        held = HeldBlocks(label_blocks(embeddings, similarity))
        index = self._empty(held.dimension)
        inner_index(index).check(self.search)  # a wrong one is told before the work
        self._train(index, held)
        for block_ND in held.consume():
            index.add(block_ND)
        return self._index(index, similarity, build_s=time.perf_counter() - started)

    def load(self, folder: Path, *, device: str) -> FactoryIndex:
        """Open what `save` wrote.

        Raises: ArtifactError when it cannot be read; ConfigError for a search parameter that the index has not.
        """
        require_cpu(device, backend="faiss.factory")
        saved = read_saved(folder)
        return self._index(saved.faiss_index, saved.similarity, build_s=saved.build_s)

    def require_device(self, device: str) -> None:
        """Refuse a device that this index cannot lie on. Raises: DeviceError; ConfigError; PluginError."""
        require_faiss()
        require_cpu(device, backend="faiss.factory")

    def _empty(self, dimension: int) -> Any:
        faiss = import_faiss()
        try:
            index = faiss.index_factory(dimension, self.factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            raise ConfigError(
                f"index.factory {self.factory!r} is no index of dimension {dimension} for faiss: {_reason(error)}.",
                hint=f"Examples: {_EXAMPLES}. See 'The index factory' in the documentation of faiss.",
            ) from error
        if index.metric_type != faiss.METRIC_INNER_PRODUCT or "IDMap" in type(index).__name__:
            raise ConfigError(
                f"index.factory {self.factory!r} makes an {type(index).__name__}, which does not answer inner products "
                "by row number.",
                hint=f"Leave out IDMap. Examples: {_EXAMPLES}.",
            )
        inner = inner_index(index)
        if inner.parameter == "nprobe":
            inner.index.cp.seed, inner.index.cp.min_points_per_centroid = self.seed, 1
        if inner.parameter == "efSearch":
            inner.index.hnsw.rng = faiss.RandomGenerator(self.seed)
        return index

    def _train(self, index: Any, held: HeldBlocks) -> None:
        if index.is_trained:
            return
        rows = min(held.labels, self.training_rows)
        try:
            index.train(held.sample(rows, seed=self.seed))
        except RuntimeError as error:
            raise DataError(
                f"faiss cannot train {self.factory!r} on {rows:,} of "
                f"{counted(held.labels, 'label vector')}: {_reason(error)}.",
                hint="Use fewer cells or smaller codes, or an index without training: 'exact' or 'faiss.hnsw'.",
            ) from error

    def _index(self, index: Any, similarity: str, *, build_s: float) -> FactoryIndex:
        inner = inner_index(index)
        inner.check(self.search)
        if inner.parameter == "nprobe":
            inner.index.make_direct_map()  # to find its labels by row, which a scan of some rows needs
        report = report_of(
            index,
            self,
            backend="faiss.factory",
            similarity=similarity,
            memory_bytes=saved_bytes(index),
            build_s=build_s,
        )
        return FactoryIndex(index, FaissVectors(index, true=False), report, self)


def _reason(error: RuntimeError) -> str:
    return str(error).splitlines()[0].rpartition("Error: ")[2].strip()[:200]
