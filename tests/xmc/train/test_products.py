"""Invariants: float32 products are torch's bit for bit; narrower ones err by the rounding of operands and result."""

import pytest
import torch

from xmc.train.products import add_product, product_into

SHAPES = [(3, 5, 4), (1, 1, 1), (0, 4, 3), (2, 0, 3)]


def operands(shape):
    generator = torch.Generator().manual_seed(1)
    rows, inner, columns = shape
    return torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_is_that_of_torch(shape):
    left, right = operands(shape)
    out = torch.full((shape[0], 2 * shape[2]), 7.0)
    product_into(out[:, : shape[2]], left, right)
    assert torch.equal(out[:, : shape[2]], left @ right) and (out[:, shape[2] :] == 7).all()
    add_product(out[:, : shape[2]], left, right)
    assert torch.equal(out[:, : shape[2]], torch.addmm(left @ right, left, right))


@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_errs_by_its_rounding(shape):
    left, right = operands(shape)
    exact = left.double() @ right.double()
    room = 2.0**-8 * 3.1 * (left.abs().double() @ right.abs().double())
    out = torch.full((shape[0], shape[2]), 7.0)
    product_into(out, left.bfloat16(), right.bfloat16())
    assert ((out - exact).abs() <= room).all()
    add_product(out, left.bfloat16(), right.bfloat16())
    assert ((out - 2 * exact).abs() <= 2 * room).all() and out.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_product_is_written_over_what_is_there_and_each_takes_its_share(shape, dtype):
    left, right = operands(shape)
    whole = torch.full((shape[0], 2 * shape[2]), torch.nan)
    out = whole[:, : shape[2]]
    add_product(out, left.to(dtype), right.to(dtype), share=0.25, first=True)
    add_product(out, left.to(dtype), right.to(dtype), share=0.5)
    expected = 0.75 * (left.double() @ right.double())
    room = 2.0**-8 * 3.1 * (left.abs().double() @ right.abs().double()) if dtype != torch.float32 else 1e-5
    assert ((out - expected).abs() <= room).all() and whole[:, shape[2] :].isnan().all()
