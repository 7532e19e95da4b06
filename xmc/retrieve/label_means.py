"""Labels whose vector is not the embedding of their text alone, because their training queries moved it.

index/vNNNNNN/means.safetensors    where the index was built so: their rows, and their vectors
index/vNNNNNN/means_gone.parquet   those that the index does not have any more: their rows follow those of the index
Shapes: L labels, N of them that were moved, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.data.shards import write_table
from xmc.data.tables import LabelTable, label_table_to_arrow, read_labels

if TYPE_CHECKING:
    from torch import Tensor

FILE_NAME = "means.safetensors"
GONE_NAME = "means_gone.parquet"
FILES = (FILE_NAME, GONE_NAME)


@dataclass(frozen=True, eq=False)
class LabelMeans:
    """Which of some labels were moved, and where to. A label of another text is another label, and was not moved.

    `labels` are those of an index, then those that were moved and are gone since: an edit may bring them back.
    """

    labels: LabelTable
    rows_N: np.ndarray[Any, Any]
    vectors_ND: Tensor

    def over(self, labels: LabelTable, chunks: Iterator[Tensor]) -> Iterator[Tensor]:
        """The vectors of `chunks`, one for each of these labels in their order, with those that were moved in place."""
        import torch

        start, places_L = 0, torch.from_numpy(self._places(labels))
        for chunk_LD in chunks:
            places = places_L[start : start + len(chunk_LD)]
            moved_LD, moved = chunk_LD.clone(), places >= 0
            moved_LD[moved] = self.vectors_ND[places[moved]].to(moved_LD)
            yield moved_LD
            start += len(chunk_LD)

    def of(self, labels: LabelTable) -> LabelMeans:
        """The same of other labels."""
        places_L = self._places(labels)
        rows_N = np.flatnonzero(places_L >= 0)
        return LabelMeans(labels, rows_N, self.vectors_ND[places_L[rows_N]])

    def beside(self, labels: LabelTable) -> LabelMeans:
        """The same for an index of other labels, which none of the moved ones is lost by."""
        here = set(zip(labels.ids, labels.texts, strict=True))
        gone = self.labels.take(self.rows_N[[pair not in here for pair in self._place_of]])
        return self.of(LabelTable(labels.ids + gone.ids, labels.texts + gone.texts) if len(gone) else labels)

    def _places(self, labels: LabelTable) -> np.ndarray[Any, Any]:
        """For each of these labels its place among those that were moved, (L,), -1 for one that was not."""
        pairs = zip(labels.ids, labels.texts, strict=True)
        return np.fromiter((self._place_of.get(pair, -1) for pair in pairs), np.int64, len(labels))

    @cached_property
    def _place_of(self) -> dict[tuple[str, str], int]:
        return {(self.labels.ids[row], self.labels.texts[row]): place for place, row in enumerate(self.rows_N.tolist())}

    def save(self, index_folder: Path, count: int) -> None:
        """Write them into the folder of an index over the first `count` of the labels that is not committed yet."""
        import torch
        from safetensors.torch import save_file

        tensors = {"rows": torch.from_numpy(self.rows_N), "vectors": self.vectors_ND.contiguous()}
        save_file(tensors, index_folder / FILE_NAME)
        if gone := len(self.labels) - count:
            table = label_table_to_arrow(self.labels.take(count + np.arange(gone)))
            write_table(index_folder / GONE_NAME, table)


def load_means(index_folder: Path, labels: LabelTable) -> LabelMeans | None:
    """What `LabelMeans.save` wrote in the verified folder of an index over these labels, None where nothing is."""
    from safetensors.torch import load_file

    if not (index_folder / FILE_NAME).is_file():
        return None
    if (index_folder / GONE_NAME).is_file():
        gone = read_labels([index_folder / GONE_NAME])
        labels = LabelTable(labels.ids + gone.ids, labels.texts + gone.texts)
    tensors = load_file(index_folder / FILE_NAME)
    return LabelMeans(labels, tensors["rows"].numpy(), tensors["vectors"])
