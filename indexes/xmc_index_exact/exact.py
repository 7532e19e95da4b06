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
from xmc_index_exact.first_pass import FirstPass, has_fast_bfloat16
from xmc_index_exact.index import FACTS_FILE, LABELS_FILE, ExactIndex

FIRST_PASSES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Exact:
    """Exact search over all labels.

    `first_pass` chooses how candidates are found, never what is answered: `float32`; `bfloat16` for batches of more
    than four queries, which holds the labels half as large again (1.5 times the memory); `auto` takes bfloat16 where
    the CPU multiplies it natively. `score_memory_mb` bounds the scores held at a time; a few megabytes stay in the
    cache, more is slower.

    >>> index = Exact().build([torch.eye(3)], similarity="dot", device="cpu")
    >>> hits = index.search(torch.tensor([[0.0, 2.0, 2.0]]), k=2)
    >>> hits.label_rows.tolist(), hits.scores.tolist()
    ([1, 2], [2.0, 2.0])
    """

    first_pass: Literal["auto", "float32", "bfloat16"] = "auto"
    score_memory_mb: int = 4

    def __post_init__(self) -> None:
        if self.first_pass not in FIRST_PASSES:
            raise ValueError(f"first_pass must be one of {', '.join(FIRST_PASSES)}, got {self.first_pass!r}")
        if self.score_memory_mb < 1:
            raise ValueError(f"score_memory_mb must be at least 1, got {self.score_memory_mb}")

    @classmethod
    def proposals(cls, *, labels: int, dimension: int) -> list[Exact]:
        """The default options, for any number of labels: what approximate indexes have to beat."""
        del labels, dimension
        return [cls()]

    def estimated_bytes(self, *, labels: int, dimension: int) -> int:
        """Four bytes a number, and two more for the bfloat16 copy where the first pass uses one (on a CPU)."""
        cpu = torch.device("cpu")
        narrow = self.first_pass == "bfloat16" or (self.first_pass == "auto" and has_fast_bfloat16(cpu))
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
        use_narrow = self.first_pass == "bfloat16"
        if use_narrow and labels_LD.device.type != "cpu":
            raise DeviceError(
                f"first_pass 'bfloat16' keeps its promise on a CPU only, got device {labels_LD.device}.",
                hint="Use first_pass 'float32' or 'auto'.",
            )
        if self.first_pass == "auto":
            use_narrow = has_fast_bfloat16(labels_LD.device)
        wide = FirstPass.of(labels_LD, torch.float32)
        narrow = FirstPass.of(labels_LD, torch.bfloat16) if use_narrow else None
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
        return ExactIndex(wide, narrow, self.score_memory_mb << 20, report)
