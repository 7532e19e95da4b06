"""A label matrix kept as W = V U + 1 wᵀ, with the mean and the centred Gram matrix of its rows.

That is enough to know of any query the mean and the variance of all its L scores in D² operations, and to change every
row of W by a change of U and w. Only V has L rows, and a step touches those of its positives alone.

Shapes: L labels, D width, N chosen rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_ROWS = 16_384


@dataclass
class FactoredMatrix:
    """W = V U + 1 wᵀ: V is `table_LD`, U `mixing_DD`, its inverse `inverse_DD`, w `shift_D`.

    `mean_D` is the mean of the rows of W, `gram_DD` the sum over its rows of (row − mean)(row − mean)ᵀ: centred, so
    that a mean far above the spread costs the variance of the scores no digits. All but V is float64.
    Reference: Vincent, de Brébisson and Bouthillier, Efficient Exact Gradient Update for training Deep Networks with
    Very Large Sparse Targets, NIPS 2015; the centred form is this project's.

    >>> matrix = FactoredMatrix.from_dense(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    >>> matrix.mean_D.tolist(), matrix.gram_DD.tolist()
    ([2.0, 0.0], [[2.0, 0.0], [0.0, 0.0]])
    """

    table_LD: Tensor
    mixing_DD: Tensor
    inverse_DD: Tensor
    shift_D: Tensor
    mean_D: Tensor
    gram_DD: Tensor

    @classmethod
    def from_dense(cls, matrix_LD: Tensor, *, copy: bool = True) -> FactoredMatrix:
        """W as it is: V = W, U = I, w = 0. Costs L · D². Without `copy` the given tensor becomes V and is changed."""
        table_LD = matrix_LD.detach().clone() if copy else matrix_LD.detach()
        identity_DD = torch.eye(table_LD.shape[1], dtype=torch.float64, device=table_LD.device)
        zero_D = identity_DD.new_zeros(table_LD.shape[1])
        mean_D, gram_DD = centred_gram(table_LD)
        return cls(table_LD, identity_DD, identity_DD.clone(), zero_D, mean_D, gram_DD)

    @property
    def labels(self) -> int:
        """Number of rows."""
        return self.table_LD.shape[0]

    @property
    def dimension(self) -> int:
        """Width of a row."""
        return self.table_LD.shape[1]

    def rows(self, label_rows_N: Tensor) -> Tensor:
        """Some rows of W, (N, D) float64."""
        return self.table_LD[label_rows_N].double() @ self.mixing_DD + self.shift_D

    def query_map(self) -> tuple[Tensor, Tensor]:
        """(U, w): the scores of a query h are V (U h) + w · h, so an index over the rows of V is asked for U h."""
        return self.mixing_DD, self.shift_D

    def state(self) -> dict[str, Tensor]:
        """Everything there is, as plain tensors by name, contiguous; not copies."""
        return {name: tensor.contiguous() for name, tensor in vars(self).items()}


def centred_gram(table_LD: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the rows, (D,), and Σ (row − mean)(row − mean)ᵀ, (D, D), in float64.

    >>> centred_gram(torch.tensor([[1e8, 0.0], [1e8 + 8, 0.0]]))[1].tolist()
    [[32.0, 0.0], [0.0, 0.0]]
    """
    mean_D = torch.zeros(table_LD.shape[1], dtype=torch.float64, device=table_LD.device)
    gram_DD = mean_D.new_zeros(len(mean_D), len(mean_D))
    for block_ND in table_LD.split(BLOCK_ROWS):
        mean_D += block_ND.double().sum(dim=0) / len(table_LD)
    for block_ND in table_LD.split(BLOCK_ROWS):
        centred_ND = block_ND.double() - mean_D
        gram_DD.addmm_(centred_ND.T, centred_ND)
    return mean_D, gram_DD
