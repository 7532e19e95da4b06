"""What stands in a data set twice and is no error: queries of two splits, or of one; labels. Counted, and told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.counted import counted

if TYPE_CHECKING:
    from xmc.data.dataset import Dataset
    from xmc.data.tables import QueryTable


@dataclass(frozen=True)
class SharedQueries:
    """Of the `queries` of `split`, how many have a text that also stands in the split `other`, and how many an id."""

    split: str
    other: str
    queries: int
    texts: int
    ids: int

    def __str__(self) -> str:
        said = (
            f"of {counted(self.queries, 'query')} of {self.split}, {self.texts:,} have the text of one in {self.other}"
        )
        said += f", {self.ids:,} the id" if self.ids else ""
        return f"{said}: a model has learnt these before it is judged by them" if self.is_learnt else said

    @property
    def is_learnt(self) -> bool:
        """Whether queries to judge by are among those to learn from."""
        return self.other == "train" and self.texts > 0


@dataclass(frozen=True)
class Shared:
    """Texts are compared without regard to case and white space; `labels` counts those that share theirs.

    `apart` counts, by split, queries with the text of another one of the split that has other labels.
    """

    queries: tuple[SharedQueries, ...] = ()
    labels: int = 0
    apart: Mapping[str, int] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """One for each thing that is shared."""
        said = [str(each) for each in self.queries]
        said += [
            f"{counted(count, f'query of {split} has', f'queries of {split} have')} the text of another "
            "one and other labels: if each row is a pair of text"
            " and label, write one row for each text, with all of its labels"
            for split, count in self.apart.items()
        ]
        if self.labels:
            said.append(
                f"{counted(self.labels, 'label has', 'labels have')} the text of another label: only "
                "their queries tell them apart"
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"queries": [asdict(each) for each in self.queries], "labels": self.labels, "apart": dict(self.apart)}


def shared_by(dataset: Dataset) -> Shared:
    """Count what splits, labels and queries of a data set share, by hashes of 64 bits."""
    texts = {split: _hashes(map(_plain, queries.texts)) for split, queries in dataset.splits.items()}
    ids = {split: _hashes(queries.ids) for split, queries in dataset.splits.items()}
    pairs = [
        SharedQueries(split, other, len(ids[split]), _count(texts, split, other), _count(ids, split, other))
        for other, split in combinations(dataset.splits, 2)
    ]
    _, times = np.unique(_hashes(map(_plain, dataset.labels.texts)), return_counts=True)
    apart = {split: _apart(texts[split], queries) for split, queries in dataset.splits.items()}
    found = {split: count for split, count in apart.items() if count}
    return Shared(tuple(pair for pair in pairs if pair.texts or pair.ids), int(times[times > 1].sum()), found)


def _apart(hashes_Q: np.ndarray[Any, Any], queries: QueryTable) -> int:
    """How many queries have the text of another one of these, and not all of them the same labels."""
    _, group_Q, times = np.unique(hashes_Q, return_inverse=True, return_counts=True)
    repeated = np.flatnonzero(times[group_Q] > 1)
    offsets, label_rows = queries.positives.offsets, queries.positives.label_rows
    labels_of: dict[int, set[bytes]] = {}
    for row in repeated.tolist():
        labels_of.setdefault(group_Q[row], set()).add(label_rows[offsets[row] : offsets[row + 1]].tobytes())
    return sum(int(times[group]) for group, labels in labels_of.items() if len(labels) > 1)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _hashes(texts: Iterable[str]) -> np.ndarray[Any, Any]:
    return np.fromiter(map(hash, texts), dtype=np.int64)


def _count(hashes: dict[str, np.ndarray[Any, Any]], split: str, other: str) -> int:
    return int(np.isin(hashes[split], hashes[other]).sum())
