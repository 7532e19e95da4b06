"""Invariants: values and gradients are those of torch's normalisation, also for zero, tiny and huge rows."""

import pytest
import torch
from torch.nn import functional

from xmc import unit_rows as unit_rows_module
from xmc.unit_rows import unit_rows


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("block_bytes", [1, 1000, 1 << 20])
def test_equals_normalisation_and_its_gradient(dtype, tolerance, block_bytes, monkeypatch):
    monkeypatch.setattr(unit_rows_module, "BLOCK_BYTES", block_bytes)
    generator = torch.Generator().manual_seed(0)
    vectors_ND = torch.randn(41, 7, generator=generator, dtype=dtype)
    vectors_ND[3] = 0
    vectors_ND[4] *= 1e-14
    vectors_ND[5] *= 1e12
    upstream_ND = torch.randn(41, 7, generator=generator, dtype=dtype)
    answers = []
    for normalise in (unit_rows, lambda vectors: functional.normalize(vectors, dim=1)):
        leaf_ND = vectors_ND.clone().requires_grad_()
        units_ND = normalise(leaf_ND)
        answers.append((units_ND.detach(), *torch.autograd.grad(units_ND, leaf_ND, upstream_ND)))
    assert torch.equal(answers[0][0], answers[1][0])
    scale_N1 = answers[1][1].abs().amax(dim=1, keepdim=True)
    torch.testing.assert_close(answers[0][1] / scale_N1, answers[1][1] / scale_N1, rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_a_gpu_answers_as_the_processor(dtype, tolerance):
    generator = torch.Generator().manual_seed(2)
    vectors_ND, upstream_ND = torch.randn(2, 300, 9, generator=generator, dtype=dtype)
    vectors_ND[7] = 0
    answers = []
    for device in ("cpu", "cuda"):
        leaf_ND = vectors_ND.to(device).requires_grad_()
        units_ND = unit_rows(leaf_ND)
        (gradient_ND,) = torch.autograd.grad(units_ND, leaf_ND, upstream_ND.to(device))
        answers.append((units_ND.detach().cpu(), gradient_ND.cpu()))
    assert answers[0][1][7].abs().max() > 0  # a row of zeros has a gradient
    for processor, gpu in zip(*answers, strict=True):
        scale_N1 = processor.abs().amax(dim=1, keepdim=True).clamp(min=1)
        torch.testing.assert_close(gpu / scale_N1, processor / scale_N1, rtol=tolerance, atol=tolerance)


def test_gradients_by_differences():
    vectors_ND = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_rows, vectors_ND)


def test_no_rows_and_a_second_derivative():
    assert unit_rows(torch.zeros(0, 3, requires_grad=True)).shape == (0, 3)
    leaf_ND = torch.ones(2, 3, requires_grad=True)
    with pytest.raises(NotImplementedError, match="once, not twice"):
        torch.autograd.grad(unit_rows(leaf_ND).square().sum(), leaf_ND, create_graph=True)
