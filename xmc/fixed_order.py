"""Sums in one fixed order: the same pair of vectors gives the same bits in every batch, thread count and device.

A matrix product may add up in another order for another batch size, so duplicates need not tie in it. Here the
products are exact in float64 and are folded in halves by element-wise additions, which IEEE 754 fixes to the bit.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Array = np.ndarray[Any, Any]
    Rows = TypeVar("Rows", Tensor, Array)

_SMALL = 65_536  # numbers; so few take numpy less time than it takes torch to be called
_NARROW = 24  # numbers; along shorter rows numpy spends its time between them
_AT_ONCE = 262_144  # numbers; what more needs at once leaves the cache, and takes 5 to 10 times as long on a CPU


def dot_pairs(left_PD: Rows, right_PD: Rows) -> Rows:
    """Dot product of each pair of rows, float64, (P,); tensors or numpy arrays, both of one kind.

    Naive: `(left_PD.double() * right_PD.double()).sum(1)`, in a fixed order.

    >>> import torch
    >>> dot_pairs(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0, 6.0]]))
    tensor([32.], dtype=torch.float64)
    """
    import torch

    if not isinstance(left_PD, torch.Tensor):
        if left_PD.size <= _SMALL:
            return _dot_arrays(left_PD, right_PD)
        return dot_pairs(torch.from_numpy(left_PD), torch.from_numpy(right_PD)).numpy()
    if _is_small(left_PD) and _is_small(right_PD):
        return torch.from_numpy(_dot_arrays(_array(left_PD), _array(right_PD)))
    if rows := _rows_at_once(left_PD):
        parts = zip(left_PD.split(rows), right_PD.split(rows), strict=True)
        return torch.cat([_folded(left, right) for left, right in parts])
    return _folded(left_PD, right_PD)


def rounded_dots(left_QD: Array, right_QMD: Array, *, most_Q: Array) -> Array:
    """`dot_pairs` of each row on the left with M on the right, rounded to float32, (Q, M): the same bits, quicker.

    But for the sign of a zero. The rows are float32; `most_Q` is at least |left| |right| of each of its pairs. In any
    order a sum of D products, exact each, is within D u |left| |right| of the true one, u = 2^-53, and within
    (log2 D) u |left| |right| in the fixed order; only where rounding to float32 could show the difference, of a few
    pairs in a million, is a pair added up again.

    >>> import numpy as np
    >>> rounded_dots(np.ones((1, 2), np.float32), np.eye(2, dtype=np.float32)[None], most_Q=np.sqrt([2.0])).tolist()
    [[1.0, 1.0]]
    """
    import numpy as np

    left, right = left_QD.astype(np.float64), right_QMD.astype(np.float64)
    sums_QM = (right[0] @ left[0])[None] if len(left) == 1 else np.matmul(right, left[:, :, None])[:, :, 0]
    slack_Q1 = _slack(left_QD.shape[1], most_Q)[:, None]
    scores_QM = (sums_QM - slack_Q1).astype(np.float32)
    open_QM = scores_QM != (sums_QM + slack_Q1).astype(np.float32)
    if open_QM.any():
        scores_QM[open_QM] = dot_pairs(left_QD[open_QM.nonzero()[0]], right_QMD[open_QM])
    return scores_QM


def rounded_pairs(left_PD: Tensor, right_PD: Tensor, *, most: float) -> Tensor:
    """`dot_pairs` rounded to float32, (P,), found as in `rounded_dots`; `most` is at least |left| |right| of any pair.

    >>> import torch
    >>> rounded_pairs(torch.ones(1, 2), torch.tensor([[3.0, 4.0]]), most=8.0)
    tensor([7.])
    """
    import torch

    sums_P = torch.linalg.vecdot(left_PD.double(), right_PD.double())
    slack = _slack(left_PD.shape[1], most)
    scores_P = (sums_P - slack).float()
    open_P = scores_P != (sums_P + slack).float()
    if open_P.any():
        scores_P[open_P] = dot_pairs(left_PD[open_P], right_PD[open_P]).float()
    return scores_P


def _slack(dimension: int, most: Any) -> Any:
    """How far the sums of a pair can be apart; 64: log2 D, and the rounding of the lines that use it."""
    return (dimension + 64) * 2.0**-53 * most


def normalise_rows(vectors_ND: Rows) -> Rows:
    """Rows divided by their Euclidean norm, float32; a zero row stays zero. A tensor or a numpy array.

    >>> import torch
    >>> normalise_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    import numpy as np

    if isinstance(vectors_ND, np.ndarray) and vectors_ND.size <= _SMALL:
        return _normalised_array(vectors_ND)
    import torch

    if not isinstance(vectors_ND, torch.Tensor):
        return normalise_rows(torch.from_numpy(vectors_ND)).numpy()
    if _is_small(vectors_ND):
        return torch.from_numpy(_normalised_array(_array(vectors_ND)))
    if rows := _rows_at_once(vectors_ND):
        return torch.cat([_normalised(part) for part in vectors_ND.split(rows)])
    return _normalised(vectors_ND)


def finite_units(vectors_ND: Array, *, most_squared: float) -> Array | None:
    """`normalise_rows` of a few float32 rows; None where a squared norm is larger than this, or not a number.

    >>> import numpy as np
    >>> finite_units(np.array([[0.0, 2.0]], np.float32), most_squared=4.0)
    array([[0., 1.]], dtype=float32)
    >>> finite_units(np.array([[0.0, np.nan]], np.float32), most_squared=4.0) is None
    True
    """
    import numpy as np

    if len(vectors_ND) == 1:
        unit_1D = _row_in_any_order(vectors_ND, most_squared)
        if unit_1D is not None:
            return unit_1D
    rows_ND = vectors_ND.astype(np.float64)
    squares_N = _folded_array(rows_ND * rows_ND)
    if not squares_N.max(initial=0.0) <= most_squared:
        return None
    return _divided(rows_ND, squares_N)


def _normalised(vectors_ND: Tensor) -> Tensor:
    norms_N = _root(_folded(vectors_ND, vectors_ND))
    return (vectors_ND / norms_N.masked_fill(norms_N == 0, 1.0)[:, None]).float()  # divided in float64


def _root(sums_N: Tensor) -> Tensor:
    """The square root as IEEE 754 has it: torch's on a CPU may be another number in the last bit."""
    import numpy as np
    import torch

    if not sums_N.is_cpu or sums_N.requires_grad:
        return sums_N.sqrt()
    return torch.from_numpy(np.sqrt(sums_N.numpy()))


def _folded(left_PD: Tensor, right_PD: Tensor) -> Tensor:
    sums_PD = left_PD * right_PD.double()  # the left is converted on the way
    width = sums_PD.shape[1]
    while width > 1:
        half = width // 2
        sums_PD[:, :half] += sums_PD[:, half : 2 * half]
        if width % 2:
            sums_PD[:, half] = sums_PD[:, 2 * half]
        width = half + width % 2
    return sums_PD[:, 0].clone()


def _rows_at_once(vectors_ND: Tensor) -> int:
    """How many rows to take at a time, 0 for all of them."""
    if not vectors_ND.is_cpu or vectors_ND.numel() <= _AT_ONCE:
        return 0
    return max(1, _AT_ONCE // vectors_ND.shape[1])


def _is_small(vectors_ND: Tensor) -> bool:
    return vectors_ND.is_cpu and vectors_ND.numel() <= _SMALL and not vectors_ND.requires_grad


def _array(vectors_ND: Tensor) -> Array:
    import torch

    known = vectors_ND.dtype in (torch.float32, torch.float64)
    array: Array = (vectors_ND if known else vectors_ND.double()).numpy()  # numpy knows no bfloat16
    return array


def _normalised_array(vectors_ND: Array) -> Array:
    import numpy as np

    if len(vectors_ND) == 1 and vectors_ND.dtype == np.float32:
        unit_1D = _row_in_any_order(vectors_ND, inf)
        if unit_1D is not None:
            return unit_1D
    rows_ND = vectors_ND.astype(np.float64)
    return _divided(rows_ND, _folded_array(rows_ND * rows_ND))


def _divided(rows_ND: Array, squares_N: Array) -> Array:
    """Each row by the root of its square, in place."""
    import numpy as np

    norms_N = np.sqrt(squares_N)
    norms_N[norms_N == 0] = 1.0
    rows_ND /= norms_N[:, None]
    return rows_ND.astype(np.float32)


def _row_in_any_order(row_1D: Array, most_squared: float) -> Array | None:
    """The row divided by its norm in few operations, or None where the bits might not be those of the fixed order.

    In any order a sum of D squares, exact each, is within D u of the true one, u = 2^-53: two norms differ by less than
    (D + log2 D + 4) u / 2 of them, and four roundings follow. So [low, high] holds each quotient of the fixed order,
    and where both round to the same float32, so does it: always but for a few rows in 10,000. None, too, where the
    squared norm is not clearly at most `most_squared`.
    """
    import numpy as np

    rows_1D = row_1D.astype(np.float64)
    square = float(np.vdot(rows_1D, rows_1D))
    slack = (rows_1D.size + 12) * 2.0**-53
    if not square <= most_squared * (1 - slack):
        return None
    rows_1D *= (1 - slack) / (sqrt(square) or 1.0)
    low_1D = rows_1D.astype(np.float32)
    rows_1D *= 1 + 2 * slack
    return low_1D if low_1D.tobytes() == rows_1D.astype(np.float32).tobytes() else None  # a loop takes longer


def _dot_arrays(left_PD: Array, right_PD: Array) -> Array:
    """The operations of `dot_pairs` in the same order, hence the same bits."""
    import numpy as np

    products_PD = left_PD.astype(np.float64)
    products_PD *= right_PD.astype(np.float64)  # numpy takes longer to convert on the way
    return _folded_array(products_PD)


def _folded_array(terms_PD: Array) -> Array:
    """The sum of each row; in the end, a column at a time lies side by side."""
    import numpy as np

    sums_DP = np.ascontiguousarray(_narrowed(terms_PD).T)
    while (width := len(sums_DP)) > 1:
        half = width // 2
        folded = sums_DP[:half] + sums_DP[half : 2 * half]
        sums_DP = np.concatenate((folded, sums_DP[2 * half :])) if width % 2 else folded
    return sums_DP[0]


def _narrowed(terms_PD: Array) -> Array:
    """Folded until the rows are narrow, (P, at most `_NARROW`)."""
    import numpy as np

    while (width := terms_PD.shape[1]) > _NARROW:
        half = width // 2
        folded = terms_PD[:, :half] + terms_PD[:, half : 2 * half]
        terms_PD = np.concatenate((folded, terms_PD[:, 2 * half :]), axis=1) if width % 2 else folded
    return terms_PD
