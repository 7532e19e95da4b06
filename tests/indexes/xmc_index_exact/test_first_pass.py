"""The bound holds for random and for worst-case vectors; each of its terms is needed by one of these cases."""

import pytest
import torch

from xmc_index_exact.first_pass import FirstPass, has_fast_bfloat16

DTYPES = [torch.float32, torch.bfloat16]


def errors_and_bounds(queries_QD, labels_LD, dtype):
    first = FirstPass.of(labels_LD, dtype)
    scores_QL = torch.mm(first.labels_LD, queries_QD.to(dtype).T).T.double()
    true_QL = (queries_QD.double() @ labels_LD.double().T).float().double()
    return (scores_QL - true_QL).abs().amax(1), first.margins(queries_QD).double() / 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dimension", [1, 3, 64, 700])
def test_random_vectors_keep_the_bound(dtype, dimension):
    generator = torch.Generator().manual_seed(dimension)
    for scale in (1e-25, 1.0, 1e15):
        queries_QD = torch.randn(50, dimension, generator=generator)
        labels_LD = torch.randn(300, dimension, generator=generator).abs() * scale
        error_Q, bound_Q = errors_and_bounds(queries_QD, labels_LD, dtype)
        assert (error_Q <= bound_Q).all()


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ([1 + 0.99 * 2**-8], [1.0]),  # only the query is rounded
        ([1.0], [1 + 0.99 * 2**-8]),  # only the label is rounded
        ([1.0, 0.99 * 2**-8], [1.0, 1.0]),  # only the sum is rounded
        ([1 + 0.99 * 2**-8] * 64, [1 + 0.99 * 2**-8] * 64),
    ],
)
def test_worst_roundings_keep_the_bound(query, label):
    error_Q, bound_Q = errors_and_bounds(torch.tensor([query]), torch.tensor([label]), torch.bfloat16)
    assert error_Q.item() > 0.003
    assert error_Q.item() <= bound_Q.item()


def test_the_bound_is_no_excuse():
    """A bound that is far too wide would be right and useless: it must stay near what the formula says."""
    vectors_ND = torch.nn.functional.normalize(torch.randn(100, 384, generator=torch.Generator().manual_seed(0)), dim=1)
    assert FirstPass.of(vectors_ND, torch.float32).margins(vectors_ND).max() < 6e-5
    assert FirstPass.of(vectors_ND, torch.bfloat16).margins(vectors_ND).max() < 0.02


@pytest.mark.parametrize("setting", ["high", "medium"])
def test_reduced_precision_of_the_process_widens_the_bound(setting):
    vectors_ND = torch.ones(1, 4)
    first = FirstPass.of(vectors_ND, torch.float32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        assert first.margins(vectors_ND).item() >= 2 * 4 * 2 * 2**-8
    finally:
        torch.set_float32_matmul_precision(before)
    assert first.margins(vectors_ND).item() < 1e-4


def test_bfloat16_is_chosen_for_cpus_only():
    assert not has_fast_bfloat16(torch.device("cuda"))
    assert isinstance(has_fast_bfloat16(torch.device("cpu")), bool)
