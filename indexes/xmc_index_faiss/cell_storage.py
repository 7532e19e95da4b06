"""How the cells of an inverted file hold their labels: as vectors or as codes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from xmc.api import ConfigError, DataError
from xmc_index_faiss._import import import_faiss

FAISS_TYPES = {
    "flat": "IndexIVFFlat",
    "fp16": "IndexIVFScalarQuantizer",
    "sq8": "IndexIVFScalarQuantizer",
    "pq": "IndexIVFPQ",
}
STORAGES = tuple(FAISS_TYPES)


@dataclass(frozen=True)
class CellStorage:
    """One of `STORAGES`; `pq_m` (0: `most_codes`) and `pq_bits` matter to product quantisation only."""

    name: str
    pq_m: int
    pq_bits: int

    @property
    def faiss_type(self) -> str:
        """The class of faiss."""
        return FAISS_TYPES[self.name]

    def code_bytes(self, dimension: int) -> int:
        """Bytes of a label."""
        codes = math.ceil(self._codes(dimension) * self.pq_bits / 8)
        return {"flat": 4 * dimension, "fp16": 2 * dimension, "sq8": dimension, "pq": codes}[self.name]

    def book_bytes(self, dimension: int) -> int:
        """Bytes of what gives codes their meaning, whatever the number of labels."""
        return {"flat": 0, "fp16": 0, "sq8": 8 * dimension, "pq": (4 << self.pq_bits) * dimension}[self.name]

    @property
    def fewest_training_rows(self) -> int:
        """Vectors to train on, whatever the number of cells, where there are so many."""
        return 64 << self.pq_bits if self.name == "pq" else 10_000

    def require_labels(self, labels: int) -> None:
        """Refuse too few labels to learn codes from. Raises: DataError."""
        if self.name == "pq" and labels < 1 << self.pq_bits:
            raise DataError(
                f"product quantisation with pq_bits {self.pq_bits} learns {1 << self.pq_bits} codes from the label "
                f"vectors, and there are {labels:,}.",
                hint="Use storage 'flat' or 'sq8', or fewer pq_bits.",
            )

    def require_dimension(self, dimension: int) -> None:
        """Refuse vectors that do not divide into the codes. Raises: ConfigError."""
        if self.name == "pq" and dimension % self._codes(dimension):
            divisors = [m for m in range(1, dimension + 1) if dimension % m == 0]
            raise ConfigError(
                f"index.pq_m is {self.pq_m}, which does not divide the dimension {dimension}.",
                hint=f"Use 0, which chooses, or one of {', '.join(map(str, divisors))}.",
            )

    def empty_index(self, dimension: int, nlist: int, *, seed: int) -> Any:
        """A faiss index of `nlist` cells that is yet to be trained; codes are trained under `seed`."""
        faiss = import_faiss()
        quantizer, metric = faiss.IndexFlatIP(dimension), faiss.METRIC_INNER_PRODUCT
        if self.name == "flat":
            index = faiss.IndexIVFFlat(quantizer, dimension, nlist, metric)
        elif self.name in ("fp16", "sq8"):
            kind = faiss.ScalarQuantizer.QT_fp16 if self.name == "fp16" else faiss.ScalarQuantizer.QT_8bit
            index = faiss.IndexIVFScalarQuantizer(quantizer, dimension, nlist, kind, metric, True)
        else:
            index = faiss.IndexIVFPQ(quantizer, dimension, nlist, self._codes(dimension), self.pq_bits, metric)
            index.pq.cp.seed, index.pq.cp.min_points_per_centroid = seed, 1
        quantizer.this.disown()
        index.own_fields = True
        return index

    def _codes(self, dimension: int) -> int:
        return self.pq_m or most_codes(dimension)


def most_codes(dimension: int) -> int:
    """Codes of product quantisation: the largest divisor of the dimension that is at most an eighth of it.

    >>> most_codes(384), most_codes(100), most_codes(7)
    (48, 10, 1)
    """
    return max(m for m in range(1, max(1, dimension // 8) + 1) if dimension % m == 0)
