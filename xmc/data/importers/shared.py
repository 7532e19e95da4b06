"""What stands in a data set twice and is no error: queries of two splits, labels of one text. Counted, and told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from xmc.data.dataset import Dataset


@dataclass(frozen=True)
class SharedQueries:
    """Of the `queries` of `split`, how many have a text that also stands in the split `other`, and how many an id."""

    split: str
    other: str
    queries: int
    texts: int
    ids: int

    def __str__(self) -> str:
        said = f"of {self.queries:,} queries of {self.split}, {self.texts:,} have the text of one in {self.other}"
        said += f", {self.ids:,} the id" if self.ids else ""
        return f"{said}: a model has learnt these before it is judged by them" if self.is_learnt else said

    @property
    def is_learnt(self) -> bool:
        """Whether queries to judge by are among those to learn from."""
        return self.other == "train" and self.texts > 0


@dataclass(frozen=True)
class Shared:
    """Texts are compared without regard to case and white space; `labels` counts those that share theirs."""

    queries: tuple[SharedQueries, ...] = ()
    labels: int = 0

    def sentences(self) -> list[str]:
        """One for each thing that is shared."""
        said = [str(each) for each in self.queries]
        if self.labels:
            said.append(f"{self.labels:,} labels have the text of another label: only their queries tell them apart")
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"queries": [asdict(each) for each in self.queries], "labels": self.labels}


def shared_by(dataset: Dataset) -> Shared:
    """Count what the splits of a data set share, and its labels of one text, by hashes of 64 bits."""
    texts = {split: _hashes(map(_plain, queries.texts)) for split, queries in dataset.splits.items()}
    ids = {split: _hashes(queries.ids) for split, queries in dataset.splits.items()}
    pairs = [
        SharedQueries(split, other, len(ids[split]), _count(texts, split, other), _count(ids, split, other))
        for other, split in combinations(dataset.splits, 2)
    ]
    _, times = np.unique(_hashes(map(_plain, dataset.labels.texts)), return_counts=True)
    return Shared(tuple(pair for pair in pairs if pair.texts or pair.ids), int(times[times > 1].sum()))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _hashes(texts: Iterable[str]) -> np.ndarray[Any, Any]:
    return np.fromiter(map(hash, texts), dtype=np.int64)


def _count(hashes: dict[str, np.ndarray[Any, Any]], split: str, other: str) -> int:
    return int(np.isin(hashes[split], hashes[other]).sum())
