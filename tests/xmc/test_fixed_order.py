import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from xmc import fixed_order
from xmc.fixed_order import dot_pairs, normalise_rows


@pytest.mark.parametrize("dimension", [1, 2, 3, 5, 8, 13, 384, 1000])
def test_dot_is_the_exact_sum_but_for_float64_rounding(dimension):
    generator = torch.Generator().manual_seed(dimension)
    left, right = torch.randn(7, dimension, generator=generator), torch.randn(7, dimension, generator=generator)
    for got, a, b in zip(dot_pairs(left, right).tolist(), left.tolist(), right.tolist(), strict=True):
        terms = [x * y for x, y in zip(a, b, strict=True)]
        assert abs(got - math.fsum(terms)) <= 11 * 2**-53 * math.fsum(map(abs, terms))


def test_a_pair_has_the_same_bits_in_any_company():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(500, 77, generator=generator), torch.randn(500, 77, generator=generator)
    together = dot_pairs(left, right)
    alone = torch.cat([dot_pairs(left[i : i + 1], right[i : i + 1]) for i in range(500)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("dimension", [1, 77, 384])
def test_a_row_is_normalised_to_the_same_bits_in_any_company(dimension):
    vectors_ND = torch.randn(1200, dimension, generator=torch.Generator().manual_seed(0)) * 100
    vectors_ND[7] = 0
    many_ND = vectors_ND.repeat(70_000 // 1200 + 1, 1)  # more than are done by numpy
    together = normalise_rows(many_ND)[:1200]
    alone = torch.cat([normalise_rows(vectors_ND[i : i + 1]) for i in range(1200)])
    assert torch.equal(together.view(torch.int32), alone.view(torch.int32))


@pytest.mark.parametrize("scale", [1e-42, 1e-20, 1.0, 1e15])  # numbers below the least normal one, too
@pytest.mark.parametrize("width", [1, 3, 384, 5000])
def test_a_row_alone_has_the_bits_of_the_fixed_order_most_times_without_it(width, scale):
    generator = torch.Generator().manual_seed(width)
    vectors_ND = (torch.randn(400, width, generator=generator).double() * scale).float()
    vectors_ND[3] = 0
    in_any_order = [fixed_order._row_in_any_order(vector_D[None].numpy(), math.inf) for vector_D in vectors_ND]
    for found_1D, wanted_D in zip(in_any_order, fixed_order._normalised(vectors_ND), strict=True):
        assert found_1D is None or found_1D.tobytes() == wanted_D.numpy().tobytes()
    unsure = sum(found_1D is None for found_1D in in_any_order)
    assert unsure <= 4 if width < 5000 else 0 < unsure < 200


def row_near_a_tie(generator: torch.Generator) -> np.ndarray:
    """Its first number, divided by its norm, lies between two float32: the last bit of the sum decides."""
    row = torch.randn(100, generator=generator).numpy()
    quotient = np.float32(abs(row[0]) / 20)
    tie = Fraction(float(quotient)) + Fraction(float(np.spacing(quotient))) / 2
    missing = (Fraction(float(row[0])) / tie) ** 2 - sum(Fraction(float(number)) ** 2 for number in row)
    finer = []
    for _ in range(6):  # each leaves a ten-millionth of what is missing
        finer.append(np.nextafter(np.float32(math.sqrt(missing)), np.float32(0)))
        missing -= Fraction(float(finer[-1])) ** 2
    return np.concatenate((row, finer)).astype(np.float32)


def test_where_the_order_of_a_sum_decides_a_row_alone_is_summed_in_the_fixed_order():
    generator = torch.Generator().manual_seed(5)
    rows = [row_near_a_tie(generator) for _ in range(50)]
    others = 0
    for row_D in rows:
        wanted_D = fixed_order._normalised(torch.from_numpy(row_D[None])).numpy()[0]
        by_numpy_D = (row_D / np.sqrt(row_D.astype(float) @ row_D)).astype(np.float32)
        others += by_numpy_D.tobytes() != wanted_D.tobytes()
        assert fixed_order._row_in_any_order(row_D[None], math.inf) is None
        assert normalise_rows(row_D[None]).tobytes() == wanted_D.tobytes()
    assert others > 5


def test_the_root_is_rounded_alike_for_few_rows_and_many():
    row_1D = torch.tensor([[14022787.0, 16777215.0, 4393870.0, 2815.0, 22.0, 1.0]])  # whose norm torch rounds otherwise
    many_ND = normalise_rows(row_1D.repeat(fixed_order._SMALL // 6 + 10, 1))
    assert torch.equal(many_ND[:1], normalise_rows(row_1D)) and torch.equal(many_ND[-1:], normalise_rows(row_1D))
    sums_N = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert fixed_order._root(sums_N).tolist() == [math.sqrt(number) for number in sums_N.tolist()]


@pytest.mark.parametrize("rows", [1, 3, 1000])  # by numpy, and too many for it
def test_arrays_give_the_bits_of_tensors(rows):
    left_ND, right_ND = torch.randn(2, rows, 77, generator=torch.Generator().manual_seed(3))
    by_arrays, units_ND = dot_pairs(left_ND.numpy(), right_ND.numpy()), normalise_rows(left_ND.numpy())
    assert by_arrays.tobytes() == dot_pairs(left_ND, right_ND).numpy().tobytes()
    assert units_ND.tobytes() == normalise_rows(left_ND).numpy().tobytes() and units_ND.dtype == "float32"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("rows", [3, 1000])
def test_every_floating_type_is_normalised_and_left_as_it_was(dtype, rows):
    vectors_ND = torch.randn(rows, 80, generator=torch.Generator().manual_seed(1)).to(dtype)
    before = vectors_ND.clone()
    normalised_ND = normalise_rows(vectors_ND)
    assert normalised_ND.dtype == torch.float32 and torch.equal(vectors_ND, before)
    torch.testing.assert_close(normalised_ND, torch.nn.functional.normalize(vectors_ND.double(), dim=1).float())


@pytest.mark.parametrize("rows", [3, 1000])  # few are done by numpy, which knows no gradient
def test_gradients_are_those_of_the_formulas(rows):
    left_ND, right_ND = torch.randn(2, rows, 80, generator=torch.Generator().manual_seed(1))
    for pair, other_ND in (((left_ND.requires_grad_(), right_ND), right_ND), ((right_ND, left_ND), right_ND)):
        (gradient_ND,) = torch.autograd.grad(dot_pairs(*pair).sum(), left_ND)
        torch.testing.assert_close(gradient_ND, other_ND)
    found, wanted = (
        torch.autograd.grad((normalise(left_ND) * right_ND).sum(), left_ND)[0]
        for normalise in (normalise_rows, torch.nn.functional.normalize)
    )
    torch.testing.assert_close(found, wanted)


def test_normalised_rows_have_norm_one_whatever_their_size():
    vectors_ND = torch.tensor([[3e-30, 4e-30], [3e17, 4e17], [0.0, 0.0]])
    assert torch.allclose(normalise_rows(vectors_ND), torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("width", [7, 256])
def test_what_is_taken_in_parts_has_the_bits_of_its_rows_alone(width):
    rows = 2 * fixed_order._AT_ONCE // width + 5
    left_PD, right_PD = torch.randn(2, rows, width, generator=torch.Generator().manual_seed(0))
    some = [0, 1, rows // 2, rows - 6, rows - 1]
    found_P, unit_PD = dot_pairs(left_PD, right_PD), normalise_rows(left_PD)
    for row in some:
        one = slice(row, row + 1)
        assert torch.equal(found_P[one], dot_pairs(left_PD[one], right_PD[one]))
        assert torch.equal(unit_PD[one], normalise_rows(left_PD[one]))
    torch.testing.assert_close(found_P, (left_PD.double() * right_PD.double()).sum(1))


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e15])
@pytest.mark.parametrize("width", [1, 64, 384])
@pytest.mark.parametrize("whole", [True, False])  # of whole numbers many sums are zero, and no rounding hides those
def test_products_in_any_order_have_the_bits_of_the_fixed_one_once_rounded(width, scale, whole, monkeypatch):
    generator = np.random.default_rng(width)
    draw = generator.integers(-2, 3, (2, 500, width)) if whole else generator.standard_normal((2, 500, width))
    left, right = (draw * [[[scale]], [[1.0]]]).astype(np.float32)
    lengths = [np.linalg.norm(rows.astype("f8"), axis=1) for rows in (left, right)]
    again = []
    monkeypatch.setattr(fixed_order, "dot_pairs", lambda *rows: again.append(len(rows[0])) or dot_pairs(*rows))
    many = fixed_order.rounded_dots(left[::5], right.reshape(100, 5, -1), most_Q=lengths[0][::5] * lengths[1].max())
    alone = fixed_order.rounded_dots(left[:1], right[None], most_Q=lengths[0][:1] * lengths[1].max())
    each = fixed_order.rounded_pairs(
        *map(torch.from_numpy, (left, right)), most=float(lengths[0].max() * lengths[1].max())
    )
    assert sum(again) > 0 or width == 1 if whole else sum(again) <= 5
    in_fives, of_one = (left[::5].repeat(5, 0), right), (left[:1].repeat(500, 0), right)
    for found, pairs in ((many, in_fives), (alone, of_one), (each.numpy(), (left, right))):
        assert (found + np.float32(0)).tobytes() == (dot_pairs(*pairs) + 0.0).astype(np.float32).tobytes()
