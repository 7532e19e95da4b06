"""Invariants: gradients are multiplied by the damped inverse of the queries' averaged second moment, made anew every so
many batches; what is not finite leaves no trace; a resumed one goes on bit for bit."""

import pytest
import torch

from xmc_kfac.label_matrix import QueryMoment
from xmc_kfac.options import KFacOptions

D = 3
BATCHES = torch.randn(7, 5, D, generator=torch.Generator().manual_seed(0))
GRADIENT = torch.randn(4, D, generator=torch.Generator().manual_seed(1))


def moment():
    return QueryMoment(D, damping=0.5, decay=0.75, inverse_steps=3, device="cpu")


def test_gradients_are_turned_by_the_inverse_of_the_averaged_moment():
    made, average = moment(), None
    assert torch.equal(made.apply(GRADIENT), GRADIENT)
    for number, queries in enumerate(BATCHES):
        made.observe(queries)
        own = queries.T @ queries / 5
        average = own if average is None else 0.75 * average + 0.25 * own
        if number % 3 == 0:
            inverse = torch.linalg.inv(average * D / average.trace() + 0.5 * torch.eye(D))
        torch.testing.assert_close(made.apply(GRADIENT), GRADIENT @ inverse)


@pytest.mark.parametrize("spoilt", [torch.full((5, D), torch.nan), torch.full((5, D), 1e30), torch.zeros(5, D)])
def test_what_is_not_finite_or_nothing_is_passed_over(spoilt):
    one, other = moment(), moment()
    for queries in BATCHES:
        one.observe(queries)
        other.observe(spoilt)
        other.observe(queries)
        assert torch.equal(one.apply(GRADIENT), other.apply(GRADIENT))


def test_a_resumed_one_goes_on_bit_for_bit():
    one, other = moment(), moment()
    for queries in BATCHES[:2]:
        one.observe(queries)
    other.load_state({name: value.clone() for name, value in one.state().items()})
    for queries in BATCHES[2:]:
        assert torch.equal(one.apply(GRADIENT), other.apply(GRADIENT))
        one.observe(queries)
        other.observe(queries)
    assert torch.equal(one.apply(GRADIENT), other.apply(GRADIENT))
    fresh = moment()
    fresh.load_state({})  # of a head that learned without
    assert torch.equal(fresh.apply(GRADIENT), GRADIENT)


def test_the_options_say_whether_there_is_one():
    assert KFacOptions(label_damping=0.0).label_preconditioner(dimension=D, device="cpu") is None
    made = KFacOptions(label_damping=0.5, decay=0.75, inverse_steps=3).label_preconditioner(dimension=D, device="cpu")
    one = moment()
    for queries in BATCHES:
        one.observe(queries)
        made.observe(queries)
    assert torch.equal(one.apply(GRADIENT), made.apply(GRADIENT))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"factor_steps": 0}, "factor_steps must be >= 1, got 0"),
        ({"inverse_steps": 0}, "inverse_steps must be >= 1, got 0"),
        ({"decay": 1.0}, r"decay must lie in \[0, 1\), got 1.0"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
        ({"damping": -1.0}, "damping must be a finite number >= 0, got -1.0"),
        ({"kl_clip": -1.0}, "kl_clip must be a finite number >= 0, got -1.0"),
        ({"label_damping": -1.0}, "label_damping must be a finite number >= 0, got -1.0"),
        ({"others_rate": 0.0}, "others_rate must be a finite number > 0, got 0.0"),
    ],
)
def test_options_that_cannot_work_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        KFacOptions(**wrong)
