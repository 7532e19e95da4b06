"""Options of the exact backend, and how it builds and loads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from xmc.api import (
    ArtifactError,
    DataError,
    DeviceError,
    IndexReport,
    normalise_rows,
    validate_similarity,
    validate_vectors,
)
from xmc_index_exact.device import resolve_device
from xmc_index_exact.first_pass import BFLOAT16, FLOAT16, FLOAT32, Arithmetic, FirstPass, narrow_arithmetic
from xmc_index_exact.index import FACTS_FILE, LABELS_FILE, ExactIndex

FIRST_PASSES = ("auto", "float32", "bfloat16", "float16")
_NARROW = {"bfloat16": (BFLOAT16, "cpu"), "float16": (FLOAT16, "cuda")}
_SCORE_MEMORY_MB = {"cpu": 4, "cuda": 1024}


@dataclass(frozen=True)
class Exact:
    """Exact search over all labels.

    `first_pass` chooses how candidates are found, never what is answered: `float32`; `bfloat16` on a CPU for batches of
    more than four queries, or `float16` on a GPU, which hold the labels half as large again (1.5 times the memory);
    `auto` takes float16 on a GPU, and bfloat16 where the CPU multiplies it natively. `score_memory_mb` bounds the
    scores held at a time; 0 stands for 4 on a CPU, whose cache holds them (more is slower), and 1,024 on a GPU.

    >>> index = Exact().build([torch.eye(3)], similarity="dot", device="cpu")
    >>> hits = index.search(torch.tensor([[0.0, 2.0, 2.0]]), k=2)
    >>> hits.label_rows.tolist(), hits.scores.tolist()
    ([1, 2], [2.0, 2.0])
    """

    first_pass: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    score_memory_mb: int = 0

    def __post_init__(self) -> None:
        if self.first_pass not in FIRST_PASSES:
            raise ValueError(f"first_pass must be one of {', '.join(FIRST_PASSES)}, got {self.first_pass!r}")
        if self.score_memory_mb < 0:
            raise ValueError(f"score_memory_mb must be at least 1, or 0 for the default, got {self.score_memory_mb}")

    @classmethod
    def proposals(cls, *, labels: int, dimension: int) -> list[Exact]:
        """The default options, for any number of labels: what approximate indexes have to beat."""
        del labels, dimension
        return [cls()]

    def estimated_bytes(self, *, labels: int, dimension: int) -> int:
        """Four bytes a number, and two more for the narrow copy where the first pass uses one (`auto`: on a CPU)."""
        narrow = self.first_pass in _NARROW or (self.first_pass == "auto" and narrow_arithmetic(torch.device("cpu")))
        return labels * dimension * (6 if narrow else 4)

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> ExactIndex:
        """Copy chunks of label vectors (n, D) into one matrix; `cosine` normalises them (and later each query).

        Raises: DataError when there is no vector or widths differ; NonFiniteError naming rows; DeviceError.
        """
        started = time.perf_counter()
        validate_similarity(similarity)
        target = resolve_device(device)
        chunks: list[Tensor] = []
        rows = 0
        for chunk in embeddings:
            width = chunks[0].shape[1] if chunks else None
            checked = validate_vectors(chunk, what="label", dimension=width, first_row=rows)
            chunks.append(normalise_rows(checked) if similarity == "cosine" else checked)
            rows += len(checked)
        if rows == 0:
            raise DataError("there are no label vectors to index.", hint="Is the label table empty?")
        labels_LD = torch.cat(chunks).to(target)
        return self._index(labels_LD, similarity, build_s=time.perf_counter() - started)

    def load(self, folder: Path, *, device: str) -> ExactIndex:
        """Open what `save` wrote.

        Raises: ArtifactError when it cannot be read; DeviceError.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        target = resolve_device(device)
        try:
            facts = json.loads((folder / FACTS_FILE).read_bytes())
            similarity, build_s = str(facts["similarity"]), float(facts["build_s"])
            labels_LD = load_file(folder / LABELS_FILE)["labels_LD"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError(f"{folder} holds no exact index that can be read: {error}.") from error
        return self._index(labels_LD.to(target), similarity, build_s=build_s)

    def _index(self, labels_LD: Tensor, similarity: str, *, build_s: float) -> ExactIndex:
        arithmetic = self._narrow(labels_LD.device)
        wide = FirstPass.of(labels_LD, FLOAT32)
        narrow = FirstPass.of(labels_LD, arithmetic) if arithmetic else None
        held = [one.labels_LD for one in (wide, narrow) if one is not None]
        report = IndexReport(
            backend="exact",
            similarity=similarity,
            labels=labels_LD.shape[0],
            dimension=labels_LD.shape[1],
            device_used=str(labels_LD.device),
            memory_bytes=sum(matrix.numel() * matrix.element_size() for matrix in held),
            build_s=build_s,
            exact=True,
            options=asdict(self),
            versions={"torch": torch.__version__},
        )
        score_memory_mb = self.score_memory_mb or _SCORE_MEMORY_MB[labels_LD.device.type]
        return ExactIndex(wide, narrow, score_memory_mb << 20, report)

    def _narrow(self, device: torch.device) -> Arithmetic | None:
        if self.first_pass == "auto":
            return narrow_arithmetic(device)
        if self.first_pass == "float32":
            return None
        arithmetic, wanted = _NARROW[self.first_pass]
        if device.type != wanted:
            raise DeviceError(
                f"first_pass {self.first_pass!r} keeps its promise on device {wanted!r} only, got {str(device)!r}.",
                hint="Use first_pass 'float32' or 'auto'.",
            )
        return arithmetic
