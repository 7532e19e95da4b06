"""One check of vectors and of k for everything that takes vectors: training, building, predicting, serving."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from xmc.errors import ConfigError, DataError, NonFiniteError, first_few
from xmc.fixed_order import finite_units, normalise_rows
from xmc.given_numbers import whole_number

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

MAX_NORM = 1e18  # the dot product of two such vectors, and every partial sum of it, is finite in float32
_MOST_SQUARED = MAX_NORM**2
_SMALL = 65_536  # numbers


def validate_vectors(
    vectors_ND: Tensor, *, what: str, dimension: int | None = None, first_row: int = 0, sparse: bool = False
) -> Tensor:
    """The vectors as a contiguous float32 matrix: itself where it is one already, never written into.

    `what` names the vectors in errors ("query", "label"), `dimension` is the width they must have, `first_row` is the
    number of the first row in the user's counting (chunks of a stream). `sparse` lets a CSR tensor through as one.
    Shapes: `vectors_ND` (N, D), any floating dtype.
    Raises: DataError for another shape or dtype; NonFiniteError, naming rows, for NaN, infinity or a norm over 1e18.

    >>> import torch
    >>> validate_vectors(torch.ones(2, 3, dtype=torch.float64), what="query").dtype
    torch.float32
    >>> validate_vectors(torch.tensor([[1.0], [float("nan")]]), what="label", first_row=100)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    xmc.errors.NonFiniteError: label vectors hold NaN, infinity or a norm over 1e+18 in row 101. Leave these rows out...
    """
    import torch

    if _array_of_few(vectors_ND, dimension) is not None:  # as most queries are
        return vectors_ND
    if not isinstance(vectors_ND, torch.Tensor):
        raise DataError(f"{what} vectors must be a torch tensor, got {type(vectors_ND).__name__}.")
    if vectors_ND.dim() != 2 or not vectors_ND.is_floating_point():
        raise DataError(
            f"{what} vectors must be a floating-point matrix (rows, dimension), "
            f"got {vectors_ND.dtype} of shape {tuple(vectors_ND.shape)}."
        )
    is_sparse = vectors_ND.layout != torch.strided
    if is_sparse and not (sparse and vectors_ND.layout == torch.sparse_csr):
        raise DataError(
            f"{what} vectors must be a dense tensor{' or a CSR tensor' if sparse else ''}, got {vectors_ND.layout}.",
            hint="" if sparse else "The index 'sparse' takes sparse vectors.",
        )
    width = vectors_ND.shape[1]
    if width == 0 or (dimension is not None and width != dimension):
        wanted = "at least 1" if dimension is None else str(dimension)
        raise DataError(
            f"{what} vectors have dimension {width}, expected {wanted}.",
            hint="Queries and labels must come from the same encoder.",
        )
    if vectors_ND.dtype != torch.float32 or vectors_ND.requires_grad:
        vectors_ND = vectors_ND.detach().to(torch.float32)
    vectors_ND = vectors_ND if is_sparse else vectors_ND.contiguous()
    if _array_of_few(vectors_ND, dimension) is None:
        _require_finite(vectors_ND, what=what, first_row=first_row)
    return vectors_ND


def validate_chunks(chunks: Iterable[Tensor], *, sparse: bool = False) -> Iterator[Tensor]:
    """The chunks (n, D) of a stream of label vectors, each as `validate_vectors` has it: one width, rows counted on.

    Raises: as `validate_vectors`; DataError at the end of a stream without a vector.

    >>> import torch
    >>> [len(chunk) for chunk in validate_chunks([torch.ones(2, 3), torch.ones(1, 3)])]
    [2, 1]
    """
    width, rows = None, 0
    for chunk in chunks:
        checked = validate_vectors(chunk, what="label", dimension=width, first_row=rows, sparse=sparse)
        width, rows = checked.shape[1], rows + checked.shape[0]
        yield checked
    if rows == 0:
        raise DataError("there are no label vectors to index.", hint="Is the label table empty?")


def checked_array(vectors_ND: Tensor, *, what: str, dimension: int) -> np.ndarray[Any, Any]:
    """`validate_vectors` as an array in the memory of the host: for one query, some of the time of a small search.

    Raises: as `validate_vectors`.

    >>> import torch
    >>> checked_array(torch.ones(1, 2), what="query", dimension=2)
    array([[1., 1.]], dtype=float32)
    """
    array = _array_of_few(vectors_ND, dimension)
    if array is None:
        array = validate_vectors(vectors_ND, what=what, dimension=dimension).cpu().numpy()
    return array


def checked_units(vectors_ND: Tensor, *, what: str, dimension: int) -> np.ndarray[Any, Any]:
    """`checked_array`, each row divided by its norm (`normalise_rows`): a norm tells of numbers that are not finite.

    Raises: as `validate_vectors`.

    >>> import torch
    >>> checked_units(torch.tensor([[0.0, 2.0]]), what="query", dimension=2)
    array([[0., 1.]], dtype=float32)
    """
    array = _array_as_it_lies(vectors_ND, dimension)
    units = None if array is None else finite_units(array, most_squared=_MOST_SQUARED)
    return normalise_rows(checked_array(vectors_ND, what=what, dimension=dimension)) if units is None else units


def _array_of_few(vectors_ND: Tensor, dimension: int | None) -> np.ndarray[Any, Any] | None:
    """Few vectors with which nothing is wrong, as they lie; None where there may be something, or more to do."""
    import numpy as np

    array = _array_as_it_lies(vectors_ND, dimension)
    if array is None:
        return None
    return array if np.vdot(array, array) <= _MOST_SQUARED else None  # which warns of no overflow, as `dot` does


def _array_as_it_lies(vectors_ND: Tensor, dimension: int | None) -> np.ndarray[Any, Any] | None:
    """Few vectors of the right kind and shape, as they lie, whatever their numbers; else None.

    Each call of torch costs a single query as much as all of numpy's here together.
    """
    import numpy as np
    import torch

    if not isinstance(vectors_ND, torch.Tensor):
        return None
    try:
        array: np.ndarray[Any, Any] = vectors_ND.numpy()
    except (TypeError, RuntimeError):  # a sparse or differentiable tensor, a GPU's, or numbers that numpy lacks
        return None
    if array.dtype != np.float32 or array.ndim != 2 or not 0 < array.size <= _SMALL or not array.flags.c_contiguous:
        return None
    if dimension is not None and array.shape[1] != dimension:
        return None
    return array


def _require_finite(vectors_ND: Tensor, *, what: str, first_row: int) -> None:
    import torch

    # One pass finds all three: NaN, infinity and overflow of the squares all make the comparison false.
    is_sparse = vectors_ND.layout != torch.strided
    norms_N = _sparse_norms(vectors_ND) if is_sparse else torch.linalg.vector_norm(vectors_ND, dim=1)
    if norms_N.numel() == 0 or norms_N.max().item() <= MAX_NORM:
        return
    bad_rows = (~(norms_N <= MAX_NORM)).nonzero().flatten() + first_row
    raise NonFiniteError(
        f"{what} vectors hold NaN, infinity or a norm over {MAX_NORM:g} in row {first_few(bad_rows.tolist(), str)}.",
        hint="Leave these rows out or encode them again.",
    )


def _sparse_norms(rows_ND: Tensor) -> Tensor:
    import torch

    counts_N = rows_ND.crow_indices().diff()
    squares = rows_ND.values().double().square()
    rows = torch.repeat_interleave(counts_N, output_size=len(squares))
    return squares.new_zeros(len(counts_N)).index_add(0, rows, squares).sqrt()


def validate_k(k: int) -> int:
    """The k as an `int`, refused if it is not a whole number of at least 1.

    Raises: ConfigError.

    >>> validate_k(0)
    Traceback (most recent call last):
    xmc.errors.ConfigError: k must be a whole number of at least 1, got 0.
    """
    k = whole_number(k, name="k")
    if k < 1:
        raise ConfigError(f"k must be a whole number of at least 1, got {k}.")
    return k


def validate_label_rows(label_rows: np.ndarray[Any, Any], *, labels: int) -> np.ndarray[Any, Any]:
    """The label rows of a filtered search as int64: whole numbers in `range(labels)`, ascending, each once; or none.

    Raises: DataError.

    >>> import numpy as np
    >>> validate_label_rows(np.array([2, 1]), labels=3)
    Traceback (most recent call last):
    xmc.errors.DataError: label rows must be ascending, each once, got 2 before 1.
    """
    import numpy as np

    rows = np.asarray(label_rows)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise DataError(f"label rows must be a list of whole numbers, got {rows.dtype} of shape {rows.shape}.")
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    descents = np.flatnonzero(rows[1:] <= rows[:-1])
    if descents.size:
        before, after = rows[descents[0] : descents[0] + 2].tolist()
        raise DataError(f"label rows must be ascending, each once, got {before} before {after}.")
    if rows.size and (rows[0] < 0 or rows[-1] >= labels):
        raise DataError(f"label rows must lie in 0..{labels - 1}, got {rows[0]} to {rows[-1]}.")
    return rows


def validate_similarity(similarity: str) -> None:
    """Refuse a similarity other than `dot` and `cosine`.

    Raises: ConfigError.
    """
    if similarity not in ("dot", "cosine"):
        raise ConfigError(f"similarity must be 'dot' or 'cosine', got {similarity!r}.")


def validate_device(device: str) -> None:
    """Refuse a device that is no word, such as None or a `torch.device`; which words there are the backend knows.

    Raises: ConfigError.

    >>> validate_device(None)
    Traceback (most recent call last):
    xmc.errors.ConfigError: device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got None.
    """
    if not isinstance(device, str):
        raise ConfigError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {device!r:.60}.")
