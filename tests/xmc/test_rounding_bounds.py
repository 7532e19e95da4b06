"""Invariants: no float32 product, in whatever order it is summed, is further from the true one than its bound, however
small the vectors are; the bound is a line in the norm, the same for a number as in a tensor, and not much wider than
the worst sum needs."""

import numpy as np
import pytest
import torch

from xmc.rounding_bounds import float32_product_error, rounding_bounds


def norms(vectors_ND):
    return torch.linalg.vector_norm(vectors_ND, dim=1, dtype=torch.float64)


def one_after_the_other(terms_D):
    return float(np.cumsum(terms_D, dtype=np.float32)[-1])


@pytest.mark.parametrize("size", [1e-25, 1e-19, 1.0, 1e15])
@pytest.mark.parametrize("dimension", [1, 3, 64, 4096])
def test_no_order_of_additions_leaves_the_bound(dimension, size):
    generator = torch.Generator().manual_seed(dimension)
    queries_QD = torch.rand(20, dimension, generator=generator) * size
    label_D = torch.rand(dimension, generator=generator)
    bounds_Q = rounding_bounds(norms(queries_QD), float(norms(label_D[None])), dimension=dimension)
    for query_D, bound in zip(queries_QD, bounds_Q.tolist(), strict=True):
        terms_D, true = (query_D * label_D).numpy(), float(query_D.double() @ label_D.double())
        for order_D in (terms_D, np.sort(terms_D), np.sort(terms_D)[::-1]):
            assert abs(one_after_the_other(order_D) - true) <= bound


def test_a_sum_of_halves_of_a_unit_is_not_far_below_the_bound():
    """Each addition to 1 loses a whole rounding: a bound with fewer of them than D would not hold."""
    dimension = 4096
    query_D, label_D = torch.full((dimension,), 2.0**-24), torch.ones(dimension)
    query_D[0] = 1.0
    error = float(query_D.double().sum()) - one_after_the_other(query_D.numpy())
    bound = rounding_bounds(float(norms(query_D[None])), float(norms(label_D[None])), dimension=dimension)
    cauchy_schwarz = dimension**0.5  # |q| |l|, where the sum of the sizes is little more than 1
    assert 0.9 * bound / cauchy_schwarz < error <= bound


def test_products_that_are_flushed_to_zero_stay_within_the_bound():
    vectors_ND = torch.full((2, 64), 2.0**-63.2)
    true = float((vectors_ND[0].double() * vectors_ND[1].double()).sum())
    largest = float(norms(vectors_ND)[1])
    assert true <= rounding_bounds(norms(vectors_ND)[:1], largest, dimension=64).item()
    assert true > rounding_bounds(norms(vectors_ND)[:1], largest, dimension=64, scales=2.0**-30).item()


def test_it_is_a_line_in_the_norm_and_has_the_same_bits_for_a_number():
    norms_Q = torch.tensor([0.0, 1.0, 2.0, 1e-20], dtype=torch.float64)
    for further in (0.0, 2.0**-8):
        bounds_Q = rounding_bounds(norms_Q, 3.0, dimension=384, further=further).tolist()
        assert bounds_Q == [rounding_bounds(norm, 3.0, dimension=384, further=further) for norm in norms_Q.tolist()]
        assert bounds_Q[2] - bounds_Q[1] == pytest.approx(bounds_Q[1] - bounds_Q[0], rel=1e-12)


@pytest.mark.parametrize("setting", ["high", "medium"])
def test_what_torch_is_told_to_shorten_is_known(setting):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        assert float32_product_error() >= 2 * 2**-8
    finally:
        torch.set_float32_matmul_precision(before)
    assert float32_product_error() == 0.0


@pytest.mark.parametrize("owner", [torch.backends.mkldnn, torch.backends.mkldnn.matmul, torch.backends.cuda.matmul])
def test_one_setting_alone_is_known_too(owner):
    before = owner.fp32_precision
    owner.fp32_precision = "tf32"
    try:
        assert float32_product_error() >= 2 * 2**-8
    finally:
        owner.fp32_precision = before
    assert float32_product_error() == 0.0
