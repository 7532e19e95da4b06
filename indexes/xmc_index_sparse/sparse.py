"""Options of the sparse backend, and how it builds and loads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from torch import Tensor

from xmc.api import (
    ArtifactError,
    ConfigError,
    DeviceError,
    IndexReport,
    validate_chunks,
    validate_similarity,
)
from xmc_index_sparse.index import FACTS_FILE, TABLE_FILE, SparseIndex
from xmc_index_sparse.rows import normalise_rows, to_rows


@dataclass(frozen=True)
class Sparse:
    """Exact search over sparse label vectors: for each feature the labels that have it, and with what weight.

    The cost of a query is the number of (feature of the query, label that has it) pairs, plus one number for each
    label. Vectors may come as dense or as CSR tensors. `score_memory_mb` bounds the scores held at a time.

    >>> import torch
    >>> index = Sparse().build([torch.eye(3)], similarity="dot", device="cpu")
    >>> hits = index.search(torch.tensor([[0.0, 2.0, 2.0]]), k=2)
    >>> hits.label_rows.tolist(), hits.scores.tolist()
    ([1, 2], [2.0, 2.0])
    """

    score_memory_mb: int = 16

    def __post_init__(self) -> None:
        if self.score_memory_mb < 1:
            raise ValueError(f"score_memory_mb must be at least 1, got {self.score_memory_mb}")

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> SparseIndex:
        """Turn chunks of label vectors (n, D) into one inverted table; `cosine` normalises them (and each query).

        Raises: DataError when there is no vector or widths differ; NonFiniteError naming rows; DeviceError.
        """
        started = time.perf_counter()
        validate_similarity(similarity)
        require_cpu(device)
        chunks: list[Any] = []
        for chunk in validate_chunks(embeddings, sparse=True):
            chunk_ND = to_rows(chunk)
            chunks.append(normalise_rows(chunk_ND) if similarity == "cosine" else chunk_ND)
        table_DL = scipy.sparse.vstack(chunks, format="csr").T.tocsr()
        return self._index(table_DL, similarity, build_s=time.perf_counter() - started)

    def load(self, folder: Path, *, device: str) -> SparseIndex:
        """Open what `save` wrote.

        Raises: ArtifactError when it cannot be read; DeviceError.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        require_cpu(device)
        try:
            facts = json.loads((folder / FACTS_FILE).read_bytes())
            similarity, build_s = str(facts["similarity"]), float(facts["build_s"])
            shape = int(facts["dimension"]), int(facts["labels"])
            arrays = load_file(folder / TABLE_FILE)
            parts = (arrays["weights"], arrays["label_rows"], arrays["offsets"])
            table_DL = scipy.sparse.csr_matrix(parts, shape=shape)
            table_DL.check_format(full_check=True)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError(f"{folder} holds no sparse index that can be read: {error}.") from error
        return self._index(table_DL, similarity, build_s=build_s)

    def require_device(self, device: str) -> None:
        """Refuse a device that this index cannot lie on. Raises: DeviceError; ConfigError for another word."""
        require_cpu(device)

    def _index(self, table_DL: Any, similarity: str, *, build_s: float) -> SparseIndex:
        wide_DL = table_DL.astype(np.float64)
        report = IndexReport(
            backend="sparse",
            similarity=similarity,
            labels=table_DL.shape[1],
            dimension=table_DL.shape[0],
            device_used="cpu",
            memory_bytes=sum(part.nbytes for part in (wide_DL.data, wide_DL.indices, wide_DL.indptr)),
            build_s=build_s,
            exact=True,
            options=asdict(self),
            versions={"scipy": scipy.__version__},
        )
        return SparseIndex(wide_DL, self.score_memory_mb << 20, report)


def require_cpu(device: str) -> None:
    """Refuse a device other than `auto` and `cpu`.

    Raises: DeviceError for a GPU, ConfigError for another word.
    """
    if device in ("auto", "cpu"):
        return
    if device.partition(":")[0] == "cuda":
        raise DeviceError(f"the index 'sparse' searches on the CPU, got device {device!r}.", hint="Use device='cpu'.")
    raise ConfigError(f"device must be 'auto' or 'cpu', got {device!r}.")
