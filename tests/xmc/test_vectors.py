import numpy as np
import pytest
import torch
from repetitions import only_in_full

from xmc.errors import ConfigError, DataError, NonFiniteError, XmcError
from xmc.fixed_order import normalise_rows
from xmc.vectors import (
    _sparse_norms,
    checked_array,
    checked_units,
    validate_chunks,
    validate_k,
    validate_similarity,
    validate_vectors,
)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_floating_dtype_becomes_float32(dtype):
    checked = validate_vectors(torch.ones(3, 2, dtype=dtype), what="query")
    assert checked.dtype == torch.float32
    assert checked.tolist() == [[1.0, 1.0]] * 3


def test_no_rows_are_allowed():
    assert validate_vectors(torch.zeros(0, 4), what="query", dimension=4).shape == (0, 4)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.ones((2, 2), dtype=np.float32), "ndarray"),
        (torch.ones(3), r"\(3,\)"),
        (torch.ones(2, 2, 2), r"\(2, 2, 2\)"),
        (torch.ones(2, 2, dtype=torch.int64), "int64"),
        (torch.ones(2, 0), "dimension 0"),
        (torch.ones(2, 3), "dimension 3, expected 4"),
    ],
)
def test_other_shapes_and_types_are_refused(vectors, said):
    with pytest.raises(DataError, match=said):
        validate_vectors(vectors, what="query", dimension=4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e19, -3e38])
def test_rows_that_are_not_finite_are_named(bad):
    vectors_ND = torch.ones(20, 3)
    vectors_ND[[2, 4, 6, 8, 10, 12, 14], 1] = bad
    with pytest.raises(NonFiniteError, match="row 102, 104, 106, 108, 110 and 2 more"):
        validate_vectors(vectors_ND, what="label", first_row=100)


def test_a_float64_that_overflows_float32_is_refused():
    with pytest.raises(NonFiniteError):
        validate_vectors(torch.tensor([[1e300]], dtype=torch.float64), what="query")


def test_chunks_have_one_width_and_their_rows_are_counted_on():
    ones, bad = torch.ones(3, 2), torch.tensor([[1.0, 1.0], [float("nan"), 1.0]])
    assert [len(chunk) for chunk in validate_chunks([ones[:0], ones, ones.double()])] == [0, 3, 3]
    with pytest.raises(NonFiniteError, match="row 4"):
        list(validate_chunks([ones, bad]))
    with pytest.raises(DataError, match="dimension 3, expected 2"):
        list(validate_chunks([ones, torch.ones(1, 3)]))
    for none in ([], [ones[:0]]):
        with pytest.raises(DataError, match="no label vectors"):
            list(validate_chunks(none))
    csr = torch.eye(2).to_sparse_csr()
    assert next(validate_chunks([csr], sparse=True)) is csr
    with pytest.raises(DataError, match="takes sparse vectors"):
        next(validate_chunks([csr]))


def test_the_largest_norm_is_allowed():
    validate_vectors(torch.tensor([[0.99e18, 0.0]]), what="query")


ANY_VECTORS = pytest.mark.parametrize(
    "vectors",
    [
        torch.ones(1, 4),
        torch.ones(40_000, 4),
        torch.ones(0, 4),
        torch.ones(4, 3).T,
        torch.ones(3, 8)[:, ::2],
        torch.ones(2, 4, requires_grad=True),
        torch.ones(2, 4, dtype=torch.bfloat16),
        torch.ones(2, 4, dtype=torch.float64),
        torch.ones(2, 4).to_sparse_csr(),
        torch.ones(2, 4, dtype=torch.complex64).conj(),
        torch.ones(2, 4, dtype=torch.int32),
        torch.ones(2, 3),
        torch.ones(4),
        torch.full((1, 4), float("nan")),
        torch.full((2, 4), float("nan")),
        torch.full((1, 4), 0.6e18),
        torch.tensor([[0.0, 0.0, 0.0, -0.0], [9e17, 0.0, 0.0, 0.0], [0.0, 9e17, 0.0, 0.0]]),
        torch.tensor([[1.0, 2.0, 3.0, 4.0], [1e19, 0.0, 0.0, 0.0], [0.0, -torch.inf, 0.0, 0.0]]),
        np.ones((2, 4), np.float32),
    ],
    ids=lambda vectors: f"{type(vectors).__name__} {vectors.dtype} {tuple(vectors.shape)}",
)


@ANY_VECTORS
def test_an_array_is_checked_as_a_tensor_is(vectors):
    check_alike(checked_array, lambda checked: checked, vectors)


@ANY_VECTORS
def test_units_are_checked_as_their_vectors_are(vectors):
    check_alike(checked_units, normalise_rows, vectors)


def check_alike(quick, after, vectors):
    """What `validate_vectors` refuses is refused in the same words, and what it takes gives the same bits."""
    try:
        expected = after(validate_vectors(vectors, what="query", dimension=4)).numpy()
    except XmcError as error:
        with pytest.raises(type(error)) as raised:
            quick(vectors, what="query", dimension=4)
        assert str(raised.value) == str(error)
    else:
        array = quick(vectors, what="query", dimension=4)
        assert (array.dtype, array.flags.c_contiguous) == ("float32", True)
        assert array.tobytes() == expected.tobytes()


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", True, None])
def test_k_must_be_a_positive_whole_number(k):
    with pytest.raises(ConfigError, match="k must be"):
        validate_k(k)


def test_similarity_is_one_of_two():
    validate_similarity("dot")
    validate_similarity("cosine")
    with pytest.raises(ConfigError, match="euclidean"):
        validate_similarity("euclidean")


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_sparse_vectors_are_for_those_who_ask_for_them():
    vectors = torch.tensor([[0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    checked = validate_vectors(vectors.to_sparse_csr(), what="query", sparse=True)
    assert checked.layout == torch.sparse_csr
    assert checked.dtype == torch.float32
    assert checked.to_dense().tolist() == vectors.tolist()
    with pytest.raises(DataError, match="index 'sparse'"):
        validate_vectors(vectors.to_sparse_csr(), what="query")
    with pytest.raises(DataError, match="or a CSR tensor"):
        validate_vectors(vectors.to_sparse(), what="query", sparse=True)
    vectors[1, 0] = float("inf")
    with pytest.raises(NonFiniteError, match="row 1"):
        validate_vectors(vectors.to_sparse_csr(), what="query", sparse=True)


@only_in_full  # torch takes seconds to load what it knows of `meta`
@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_norms_of_sparse_vectors_are_found_where_they_lie():
    """torch's device `meta` stands for a GPU: it refuses to be mixed with the CPU."""
    offsets, columns, values = torch.tensor([0, 2, 2, 3]), torch.tensor([0, 2, 1]), torch.tensor([3.0, 4.0, 2.0])
    there = [part.to("meta") for part in (offsets, columns, values)]
    assert _sparse_norms(torch.sparse_csr_tensor(*there, (3, 4))).device.type == "meta"
    assert _sparse_norms(torch.sparse_csr_tensor(offsets, columns, values, (3, 4))).tolist() == [5.0, 0.0, 2.0]
