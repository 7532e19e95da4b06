"""The bound holds for random and for worst-case vectors; each of its terms is needed by one of these cases."""

import pytest
import torch

from xmc_index_exact.first_pass import BFLOAT16, FLOAT16, FLOAT32, FirstPass
from xmc_index_exact.scan import multiply

ARITHMETICS = [FLOAT32, BFLOAT16, FLOAT16]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
    ),
]


def errors_and_bounds(queries_QD, labels_LD, arithmetic, device="cpu"):
    first = FirstPass.of(labels_LD.to(device), arithmetic)
    operands_QD, margins_Q = first.prepared(queries_QD.to(device))
    scores_LQ = torch.empty((len(labels_LD), len(queries_QD)), dtype=arithmetic.scores, device=device)
    multiply(first.labels_LD, operands_QD.T, scores_LQ)
    true_QL = (queries_QD.double() @ labels_LD.double().T).float().double()
    true_QL *= first.scale
    if arithmetic is FLOAT16:
        true_QL *= torch.exp2(-torch.frexp(queries_QD.abs().amax(1)).exponent.double())[:, None]
    return (scores_LQ.T.double().cpu() - true_QL).abs().amax(1), margins_Q.double().cpu() / 2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("dimension", [1, 3, 64, 700, 4096])
def test_random_vectors_keep_the_bound(arithmetic, dimension, device):
    generator = torch.Generator().manual_seed(dimension)
    for scale in (1e-25, 1.0, 1e15):
        queries_QD = torch.randn(50, dimension, generator=generator)
        labels_LD = torch.randn(300, dimension, generator=generator).abs() * scale
        for queries in (queries_QD, queries_QD.abs()):
            error_Q, bound_Q = errors_and_bounds(queries, labels_LD, arithmetic, device)
            assert (error_Q <= bound_Q).all()


def test_the_largest_of_all_labels_fits_float16():
    """Also where it is not among the first, which are looked at together."""
    labels_LD = torch.cat((torch.ones(1500, 2), torch.full((500, 2), 3e5), torch.ones(500, 2)))
    assert FirstPass.of(labels_LD, FLOAT16).labels_LD.amax() == 3e5 / 2**19


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
    error_Q, bound_Q = errors_and_bounds(torch.tensor([query]), torch.tensor([label]), BFLOAT16)
    assert error_Q.item() > 0.003
    assert error_Q.item() <= bound_Q.item()


def test_the_bound_is_no_excuse():
    """A bound that is far too wide would be right and useless: it must stay near what the formula says."""
    vectors_ND = torch.nn.functional.normalize(torch.randn(100, 384, generator=torch.Generator().manual_seed(0)), dim=1)
    assert FirstPass.of(vectors_ND, FLOAT32).prepared(vectors_ND)[1].max() < 6e-5
    assert FirstPass.of(vectors_ND, BFLOAT16).prepared(vectors_ND)[1].max() < 0.02
    scaled = FirstPass.of(vectors_ND, FLOAT16)
    operands_ND, margins_N = scaled.prepared(vectors_ND)
    norms_N = operands_ND.double().norm(dim=1)
    assert (margins_N / norms_N / scaled.largest_norm).max() < 0.002


@pytest.mark.parametrize("setting", ["high", "medium"])
def test_reduced_precision_of_the_process_widens_the_bound(setting):
    vectors_ND = torch.ones(1, 4)
    first = FirstPass.of(vectors_ND, FLOAT32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        assert first.prepared(vectors_ND)[1].item() >= 2 * 4 * 2 * 2**-8
    finally:
        torch.set_float32_matmul_precision(before)
    assert first.prepared(vectors_ND)[1].item() < 1e-4


def test_a_score_below_float32_ties_with_its_like():
    """1e-25 x 1e-25 is 0 in float32, so all labels tie, though a scaled product tells them apart."""
    labels_LD, queries_QD = torch.tensor([[1e-25], [3e-25]]), torch.tensor([[1e-25]])
    _, margins_Q = FirstPass.of(labels_LD, FLOAT16).prepared(queries_QD)
    assert margins_Q.item() >= 1
