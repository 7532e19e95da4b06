"""Invariants: both kernels multiply exactly, also the largest codes; one that does not is not offered."""

import pytest
import torch

from xmc_index_exact.int8_product import (
    LARGEST_LABEL_CODE,
    LARGEST_QUERY_CODE,
    Fbgemm,
    OneDnn,
    kernel,
    multiplies_exactly,
)

KERNELS = [
    pytest.param(
        one, id=one.__name__, marks=pytest.mark.skipif(not multiplies_exactly(one), reason="not in this torch")
    )
    for one in (Fbgemm, OneDnn)
]


def test_there_is_a_kernel_on_x86():
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        assert kernel(384) in (Fbgemm, OneDnn)
        assert kernel(100) is OneDnn  # FBGEMM would fill it up to 512
        assert kernel(1 << 20) is None


@pytest.mark.parametrize("one", KERNELS)
@pytest.mark.parametrize(("queries", "labels", "dimension"), [(1, 1, 1), (3, 130, 7), (64, 500, 384), (5, 40, 4099)])
def test_products_are_those_of_whole_numbers(one, queries, labels, dimension):
    generator = torch.Generator().manual_seed(dimension)
    queries_QD = torch.randint(-LARGEST_QUERY_CODE, LARGEST_QUERY_CODE + 1, (queries, dimension), generator=generator)
    labels_LD = torch.randint(-LARGEST_LABEL_CODE, LARGEST_LABEL_CODE + 1, (labels, dimension), generator=generator)
    queries_QD[0], labels_LD[0] = LARGEST_QUERY_CODE, LARGEST_LABEL_CODE
    products_QL = one.multiply(queries_QD.float(), one.pack(labels_LD.to(torch.int8)))
    assert torch.equal(products_QL, (queries_QD @ labels_LD.T).float())


class Wrong(Fbgemm):
    @staticmethod
    def multiply(codes_QD, packed):
        return Fbgemm.multiply(codes_QD, packed).clamp(max=1e6)  # as sums do that run over


class Absent(Fbgemm):
    @staticmethod
    def pack(codes_SD):
        return torch.ops.quantized.no_such_operator(codes_SD)


@pytest.mark.parametrize("one", [Wrong, Absent])
def test_a_kernel_that_is_wrong_or_absent_is_not_offered(one):
    assert not multiplies_exactly(one)
