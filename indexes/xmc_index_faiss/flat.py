"""Backend `faiss.flat`: faiss scores every label."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.api import ArtifactError, DataError, IndexReport, validate_similarity, validate_vectors
from xmc_index_faiss._import import import_faiss, read_faiss
from xmc_index_faiss.device import require_cpu
from xmc_index_faiss.index import FACTS_FILE, INDEX_FILE, FaissIndex, vectors_for_faiss

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Flat:
    """`faiss.IndexFlatIP`; `exact` answers the same with ties settled and is faster, this one is here to compare.

    >>> import torch
    >>> Flat().build([torch.eye(3)], similarity="dot", device="cpu").search(torch.eye(3)[:1], k=1).label_rows.tolist()
    [0]
    """

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> FaissIndex:
        """Add chunks of label vectors (n, D), in row order.

        Raises: DataError when there is no vector or widths differ; NonFiniteError naming rows; DeviceError; PluginError
        when faiss is not installed.
        """
        started = time.perf_counter()
        validate_similarity(similarity)
        require_cpu(device, backend="faiss.flat")
        faiss = import_faiss()
        index: Any = None
        for chunk in embeddings:
            width, rows = (index.d, index.ntotal) if index is not None else (None, 0)
            checked = validate_vectors(chunk, what="label", dimension=width, first_row=rows)
            if index is None:
                index = faiss.IndexFlatIP(checked.shape[1])
            index.add(vectors_for_faiss(checked, similarity))
        if index is None or index.ntotal == 0:
            raise DataError("there are no label vectors to index.", hint="Is the label table empty?")
        return FaissIndex(index, self._report(index, similarity, build_s=time.perf_counter() - started))

    def load(self, folder: Path, *, device: str) -> FaissIndex:
        """Open what `save` wrote.

        Raises: ArtifactError when it cannot be read or is another index; DeviceError.
        """
        require_cpu(device, backend="faiss.flat")
        try:
            facts = json.loads((folder / FACTS_FILE).read_bytes())
            similarity, build_s = str(facts["similarity"]), float(facts["build_s"])
            expected = int(facts["labels"]), int(facts["dimension"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{folder} holds no faiss index that can be read: {error}.") from error
        index = read_faiss(folder / INDEX_FILE)
        found = index.ntotal, index.d
        if type(index).__name__ not in ("IndexFlat", "IndexFlatIP") or found != expected:
            raise ArtifactError(
                f"{folder} holds a {type(index).__name__} of {found}, expected a flat one of {expected}."
            )
        return FaissIndex(index, self._report(index, similarity, build_s=build_s))

    def _report(self, index: Any, similarity: str, *, build_s: float) -> IndexReport:
        return IndexReport(
            backend="faiss.flat",
            similarity=similarity,
            labels=index.ntotal,
            dimension=index.d,
            device_used="cpu",
            memory_bytes=index.ntotal * index.d * 4,
            build_s=build_s,
            exact=False,
            options=asdict(self),
            versions={"faiss": import_faiss().__version__},
        )
