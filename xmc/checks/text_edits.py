"""A text as a weighted sum over features, and what each allowed substitution does to that sum.

Shapes: F features of the text and its substitutes, D width, B blocks, W groups of sites that change alike, M edits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.encode.bags import Bags, bag_embeddings
from xmc.ragged import offsets_of
from xmc.substitutions.word_sets import Site

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Edit:
    """One way to change a site: the substitute and how much each feature gains, give or take `spread`."""

    substitute: str
    change: Mapping[int, float]
    spread: Mapping[int, float]


@dataclass(frozen=True)
class Group:
    """Sites (their positions in `TextEdits.sites`) that change alike, as repetitions of a word do."""

    sites: tuple[int, ...]
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class TextEdits:
    """e(x) = Σ over blocks of (Σ_f base_bf E_f) / length_b, and a lower model of every e(x') · u.

    For each text x' within the radius and every direction u,
    e(x') · u >= Σ_b min(n_b / shortest_b, n_b / longest_b) + Σ over changed sites of the least of its edits' values,
    with n_b = Σ_f base_bf E_f · u and an edit's value Σ_f change_f E_f · u − spread_f |E_f · u|. Where no spread is
    above 0 and every block has one length, this is an equation for the worst x': the certificate is exact. `lengths_B`
    are the lengths of the unchanged text. `weight_norms` is the range of the norm of the features' weights, where
    labels are divided by that.

    `vectors_FD` are the rows E_f; `rows_F` their rows in the encoder's table. Edits are kept level by level: edit 0 of
    every group, then edit 1 of every group that has two, ..., groups in falling order of their number of edits.
    """

    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    rows_F: NDArray[np.int64]
    vectors_FD: Tensor
    base_BF: Tensor
    lengths_B: Floats
    shortest_B: Floats
    longest_B: Floats
    changes: Bags
    spreads: Bags | None
    level_sizes: tuple[int, ...]
    weight_norms: tuple[float, float] = (1.0, 1.0)

    @property
    def exact(self) -> bool:
        """Whether the lower model is attained."""
        return self.spreads is None and bool((self.shortest_B == self.longest_B).all())

    def edit_of(self, row: int) -> tuple[int, Edit]:
        """The group and the edit of row `row` of `changes`."""
        for level, size in enumerate(self.level_sizes):
            if row < size:
                return row, self.groups[row].edits[level]
            row -= size
        raise IndexError(row)

    def counts_W(self) -> NDArray[np.int64]:
        """Number of sites of each group."""
        return np.array([len(group.sites) for group in self.groups], dtype=np.int64)

    def block_sums(self) -> Tensor:
        """Σ_f base_bf E_f of each block, (B, D)."""
        return self.base_BF @ self.vectors_FD

    def embedding(self) -> Tensor:
        """e(x) of the unchanged text, (D,)."""
        return torch.from_numpy(1 / self.lengths_B) @ self.block_sums()

    def least(self, products_FC: Tensor) -> Floats:
        """What each edit adds to Σ weight x product at least, (M, C): the products with its changes less its spread."""
        return self._added(products_FC, -1.0)

    def most(self, products_FC: Tensor) -> Floats:
        """What each edit adds to Σ weight x product at most, (M, C)."""
        return self._added(products_FC, 1.0)

    def _added(self, products_FC: Tensor, side: float) -> Floats:
        added_MC = bag_sums(self.changes, products_FC)
        if self.spreads is not None:
            added_MC = added_MC + side * bag_sums(self.spreads, products_FC.abs())
        return np.asarray(added_MC.numpy())

    def weight(self, radius: int) -> float:
        """Σ |weight| over the text and so many edits (0 = every site), at most."""
        sums = np.concatenate(([0.0], np.cumsum(np.abs(self.changes.weights))))[self.changes.offsets]
        sites = radius or len(self.sites)
        return float(self.base_BF.abs().sum()) + sites * float(np.diff(sums).max(initial=0.0))

    def size(self) -> float:
        """Σ |weight| ‖E_f‖ over the text: what the rounding errors of a score are proportional to."""
        lengths_F = self.vectors_FD.norm(dim=1)
        return float(((self.base_BF.abs() @ lengths_F).numpy() / self.shortest_B).sum())


def bounded_quotient(values_BC: Floats, shortest_B: Floats, longest_B: Floats) -> Floats:
    """Σ over blocks of the smaller of value / shortest and value / longest, (C,)."""
    shares = np.minimum(values_BC / shortest_B[:, None], values_BC / longest_B[:, None])
    return np.asarray(shares.sum(axis=0))


def bag_sums(bags: Bags, table_FC: Tensor) -> Tensor:
    """Sum of weight x row over each bag, (M, C), in the precision of the table."""
    return bag_embeddings(bags, table_FC)


def arrange(
    sites: Sequence[Site],
    groups: Sequence[Group],
    base: Sequence[Mapping[int, float]],
    table_VD: Tensor,
    *,
    lengths: Sequence[tuple[float, float, float]] | None = None,
    weight_norms: tuple[float, float] = (1.0, 1.0),
) -> TextEdits:
    """Put groups in order and number the features.

    `base` has a map from table row to weight for each block, `lengths` the length of each, its shortest and its longest
    (1 where None). In an edit, row len(table) + b stands for the sum of block b of the unchanged text.
    """
    ordered = sorted((group for group in groups if group.edits), key=lambda group: -len(group.edits))
    levels = len(ordered[0].edits) if ordered else 0
    level_sizes = tuple(sum(len(group.edits) > level for group in ordered) for level in range(levels))
    edits = [group.edits[level] for level in range(levels) for group in ordered[: level_sizes[level]]]
    parts = [np.fromiter(one.keys(), np.int64, len(one)) for one in [*base, *(edit.change for edit in edits)]]
    parts += [np.fromiter(edit.spread.keys(), np.int64, len(edit.spread)) for edit in edits]
    rows_F = np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))
    base_BF = np.zeros((len(base), len(rows_F)))
    for block, weights in enumerate(base):
        base_BF[block, np.searchsorted(rows_F, parts[block])] = list(weights.values())
    lengths_B, shortest_B, longest_B = np.array(lengths or [(1.0, 1.0, 1.0)] * len(base)).T
    return TextEdits(
        tuple(sites),
        tuple(ordered),
        rows_F,
        _vectors(rows_F, table_VD, base_BF),
        torch.from_numpy(base_BF),
        lengths_B,
        shortest_B,
        longest_B,
        _bags([edit.change for edit in edits], rows_F),
        _bags([edit.spread for edit in edits], rows_F) if any(edit.spread for edit in edits) else None,
        level_sizes,
        weight_norms,
    )


def _vectors(rows_F: NDArray[np.int64], table_VD: Tensor, base_BF: Floats) -> Tensor:
    is_row_F = rows_F < len(table_VD)
    vectors_RD = table_VD[torch.from_numpy(rows_F[is_row_F])].double()
    sums_BD = torch.from_numpy(base_BF[:, is_row_F]) @ vectors_RD
    return torch.cat([vectors_RD, sums_BD[torch.from_numpy(rows_F[~is_row_F] - len(table_VD))]])


def _bags(maps: Sequence[Mapping[int, float]], rows_F: NDArray[np.int64]) -> Bags:
    offsets = offsets_of([len(one) for one in maps])
    keys = np.fromiter((key for one in maps for key in one), np.int64, offsets[-1])
    weights = np.fromiter((value for one in maps for value in one.values()), np.float64, offsets[-1])
    return Bags(offsets, np.searchsorted(rows_F, keys).astype(np.int32), weights)
