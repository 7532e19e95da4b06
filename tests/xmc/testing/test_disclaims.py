"""Invariants: a disclaimed promise is not demanded; a disclaim must be known and true; nothing else is waived."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from xmc.testing import ConformanceError, check_loss


@dataclass(frozen=True)
class SquaredDifference:
    """Keeps everything but that a higher score of the only positive never hurts."""

    def __call__(self, inputs):
        error_Q = (inputs.scores_QC - inputs.relevance_QC).square().sum(dim=1).to(torch.float64)
        return error_Q * (inputs.positive_weight_sum_Q > 0)


@dataclass(frozen=True)
class Disclaiming(SquaredDifference):
    disclaims: ClassVar = {"higher_positive_is_better"}


@dataclass(frozen=True)
class Misspelled(SquaredDifference):
    disclaims: ClassVar = {"higher_positive"}


@dataclass(frozen=True)
class Needless:
    disclaims: ClassVar = {"higher_positive_is_better"}

    def __call__(self, inputs):
        return (inputs.scores_QC * -inputs.relevance_QC).sum(dim=1).double()


@dataclass(frozen=True)
class Wrong(Disclaiming):
    def __call__(self, inputs):
        return super().__call__(inputs) + 1


def test_the_promise_is_waived_for_a_loss_that_says_so():
    with pytest.raises(ConformanceError, match="raising the only positive's score"):
        check_loss(SquaredDifference())
    check_loss(Disclaiming())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            Misspelled(),
            r"unknown disclaim 'higher_positive', known are \['gradient_is_the_slope', 'higher_positive_is_better'\]",
        ),
        (Needless(), "disclaims 'higher_positive_is_better', which it keeps"),
        (Wrong(), "queries without positives give 0"),
    ],
)
def test_what_a_disclaim_does_not_cover_is_refused(loss, message):
    with pytest.raises(ConformanceError, match=message):
        check_loss(loss)
