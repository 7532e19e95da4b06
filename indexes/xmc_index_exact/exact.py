"""Options of the exact backend, and how it builds and loads."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from xmc.api import (
    ArtifactError,
    ConfigError,
    DeviceError,
    IndexReport,
    normalise_rows,
    validate_chunks,
    validate_similarity,
)
from xmc_index_exact.device import resolve_device
from xmc_index_exact.first_pass import BFLOAT16, FLOAT16, FLOAT32, FirstPass, has_fast_bfloat16
from xmc_index_exact.index import FACTS_FILE, LABELS_FILE, ExactIndex
from xmc_index_exact.int8_pass import Int8Pass
from xmc_index_exact.int8_product import LARGEST_DIMENSION, Fbgemm, Kernel, kernel

FIRST_PASSES = ("auto", "float32", "bfloat16", "float16", "int8")
FEWEST_CODED = 32_768  # labels: below, large batches are no faster by codes
LEAST_DIMENSION_CODED = 256  # shorter vectors are read as fast as the bounds of codes are worked out
_DEVICES = {"bfloat16": "cpu", "float16": "cuda", "int8": "cpu"}
_SCORE_MEMORY_MB = {"cpu": 4, "cuda": 1024}


@dataclass(frozen=True)
class Exact:
    """Exact search over all labels.

    `first_pass` chooses how candidates are found, never what is answered: `float32`; `int8` on a CPU, codes beside the
    labels (1.25 to 1.5 times the memory); `bfloat16` on a CPU for batches of more than four queries, or `float16` on a
    GPU (1.5 times the memory). `auto` takes float16 on a GPU; on a CPU bfloat16 where it multiplies that natively, else
    int8 from 32,768 labels of 256 numbers on where torch has a kernel for it. `score_memory_mb` bounds the scores that
    each thread of a large batch holds at a time; 0 stands for 4 on a CPU, whose cache holds them (more is slower), and
    1,024 on a GPU.

    >>> index = Exact().build([torch.eye(3)], similarity="dot", device="cpu")
    >>> hits = index.search(torch.tensor([[0.0, 2.0, 2.0]]), k=2)
    >>> hits.label_rows.tolist(), hits.scores.tolist()
    ([1, 2], [2.0, 2.0])
    """

    first_pass: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    score_memory_mb: int = 0

    def __post_init__(self) -> None:
        if self.first_pass not in FIRST_PASSES:
            raise ValueError(f"first_pass must be one of {', '.join(FIRST_PASSES)}, got {self.first_pass!r}")
        if self.score_memory_mb < 0:
            raise ValueError(f"score_memory_mb must be at least 1, or 0 for the default, got {self.score_memory_mb}")

    @classmethod
    def proposals(cls, *, labels: int, dimension: int) -> list[Exact]:
        """The default options, for any number of labels: what approximate indexes have to beat.

        Where these keep a copy of the labels, also those that do not, for a goal of memory.
        """
        copies = cls()._chosen(torch.device("cpu"), labels, dimension) != "float32"
        return [cls(), cls(first_pass="float32")] if copies else [cls()]

    def estimated_bytes(self, *, labels: int, dimension: int) -> int:
        """Four bytes a number, and those of the copy of the first pass (`auto`: on a CPU)."""
        chosen = self._chosen(torch.device("cpu"), labels, dimension)
        found = kernel(dimension) or Fbgemm  # without one, int8 is refused anyway
        copies = {
            "float32": 0,
            "bfloat16": 2 * dimension,
            "float16": 2 * dimension,
            "int8": found.bytes_per_label(dimension),
        }
        return labels * (4 * dimension + copies[chosen])

    def build(self, embeddings: Iterable[Tensor], *, similarity: str, device: str) -> ExactIndex:
        """Copy chunks of label vectors (n, D) into one matrix; `cosine` normalises them (and later each query).

        Raises: DataError when there is no vector or widths differ; NonFiniteError naming rows; DeviceError.
        """
        started = time.perf_counter()
        validate_similarity(similarity)
        target = resolve_device(device)
        is_cosine = similarity == "cosine"
        chunks = [normalise_rows(chunk) if is_cosine else chunk for chunk in validate_chunks(embeddings)]
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

    def require_device(self, device: str) -> None:
        """Refuse a device that this index cannot lie on. Raises: DeviceError; ConfigError for another word."""
        resolve_device(device)

    def _index(self, labels_LD: Tensor, similarity: str, *, build_s: float) -> ExactIndex:
        wide, narrow = FirstPass.of(labels_LD, FLOAT32), self._narrow(labels_LD)
        report = IndexReport(
            backend="exact",
            similarity=similarity,
            labels=labels_LD.shape[0],
            dimension=labels_LD.shape[1],
            device_used=str(labels_LD.device),
            memory_bytes=wide.memory_bytes + (narrow.memory_bytes if narrow else 0),
            build_s=build_s,
            exact=True,
            options=asdict(self),
            versions={"torch": torch.__version__},
        )
        score_memory_mb = self.score_memory_mb or _SCORE_MEMORY_MB[labels_LD.device.type]
        return ExactIndex(wide, narrow, score_memory_mb << 20, report)

    def _narrow(self, labels_LD: Tensor) -> FirstPass | Int8Pass | None:
        """The second copy of the labels, that of the chosen first pass."""
        chosen = self._checked_pass(labels_LD.device, *labels_LD.shape)
        if chosen == "int8":
            return Int8Pass.of(labels_LD, _kernel(labels_LD.shape[1]))
        arithmetic = {"bfloat16": BFLOAT16, "float16": FLOAT16}.get(chosen)
        return FirstPass.of(labels_LD, arithmetic) if arithmetic else None

    def _checked_pass(self, device: torch.device, labels: int, dimension: int) -> str:
        """The same as `_chosen`; raises: DeviceError where it is not for this device."""
        chosen = self._chosen(device, labels, dimension)
        wanted = _DEVICES.get(chosen, device.type)
        if device.type != wanted:
            raise DeviceError(
                f"first_pass {chosen!r} keeps its promise on device {wanted!r} only, got {str(device)!r}.",
                hint="Use first_pass 'float32' or 'auto'.",
            )
        return chosen

    def _chosen(self, device: torch.device, labels: int, dimension: int) -> str:
        """What `auto` stands for, or the name that was given."""
        if self.first_pass != "auto":
            return self.first_pass
        if device.type == "cuda":
            return "float32" if torch.version.hip else "float16"
        if has_fast_bfloat16():
            return "bfloat16"
        pays_off = labels >= FEWEST_CODED and dimension >= LEAST_DIMENSION_CODED
        return "int8" if pays_off and kernel(dimension) else "float32"


def _kernel(dimension: int) -> Kernel:
    found = kernel(dimension)
    if found is None:
        raise ConfigError(
            f"first_pass 'int8' needs vectors of at most {LARGEST_DIMENSION:,} numbers, got {dimension:,}, and a torch "
            f"with int8 products for an x86 processor, got {torch.__version__} on {platform.machine()}.",
            hint="Use first_pass 'float32' or 'auto'.",
        )
    return found
