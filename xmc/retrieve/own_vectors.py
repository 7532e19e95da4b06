"""Labels whose vector was given by the user: woven into the stream of vectors that the model makes of the others.

Shapes: L labels, N given vectors, E width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xmc.data.shards import read_table, write_table
from xmc.data.tables import LabelTable

if TYPE_CHECKING:
    from torch import Tensor

    from xmc.api import QueryMap
    from xmc.retrieve.label_edits import LabelEdits

FILE_NAME = "own_vectors.parquet"
Vectors = tuple["Iterator[Tensor]", "QueryMap | None"]


@dataclass(frozen=True, eq=False)
class OwnVectors:
    """Given vectors and whose they are."""

    rows: Mapping[str, int]
    vectors_NE: Tensor

    @classmethod
    def of(cls, edits: LabelEdits) -> OwnVectors | None:
        """Those of the edits of a run, None when there are none."""
        rows = {label_id: edit.row for label_id, edit in edits.own.items()}
        return cls(rows, edits.vectors_NE) if rows and edits.vectors_NE is not None else None

    def weave(self, labels: LabelTable, vectors_of: Callable[[LabelTable], Vectors]) -> Vectors:
        """Vectors of these labels in chunks, in their order: the given ones, and `vectors_of` all others."""
        is_own_L = np.array([label_id in self.rows for label_id in labels.ids], dtype=bool)
        if not is_own_L.any():
            return vectors_of(labels)
        others = labels.take(np.flatnonzero(~is_own_L))
        made, query_map = vectors_of(others) if len(others) else (iter(()), None)
        given = [self.rows[label_id] for label_id in labels.ids if label_id in self.rows]
        return _woven(made, self.vectors_NE, given, is_own_L), query_map


def _woven(
    made: Iterator[Tensor],
    vectors_NE: Tensor,
    given: Sequence[int],
    is_own_L: np.ndarray[tuple[int], np.dtype[np.bool]],
) -> Iterator[Tensor]:
    """Runs of made and of given rows in turn; the switches between them are where `is_own_L` changes."""
    import torch

    from xmc.encode.csr import take_rows

    ends = [*(np.flatnonzero(np.diff(is_own_L)) + 1), len(is_own_L)]
    chunk, start, done, taken = None, 0, 0, 0
    for end in ends:
        count, done_before = end - done, done
        done = end
        if is_own_L[done_before]:
            yield take_rows(vectors_NE, torch.tensor(given[taken : taken + count]))
            taken += count
            continue
        while count:
            if chunk is None or start == len(chunk):
                chunk, start = next(made), 0
            rows = torch.arange(start, min(len(chunk), start + count))
            yield take_rows(chunk, rows)
            start, count = start + len(rows), count - len(rows)


def save_own(folder: Path, labels: LabelTable, edits: LabelEdits) -> None:
    """Note in an index folder which of its labels have a given vector, and which one; nothing when none has."""
    import pyarrow as pa

    own = edits.own
    rows = [(label_id, own[label_id].own) for label_id in labels.ids if label_id in own]
    if rows:
        ids, hashes = zip(*rows, strict=True)
        write_table(folder / FILE_NAME, pa.table({"label_id": list(ids), "sha256": list(hashes)}))


def load_own(folder: Path) -> dict[str, str]:
    """What `save_own` noted in a verified index folder: label id to SHA-256 of its vector."""
    if not (folder / FILE_NAME).is_file():
        return {}
    table = read_table(folder / FILE_NAME)
    return dict(zip(table.column("label_id").to_pylist(), table.column("sha256").to_pylist(), strict=True))
