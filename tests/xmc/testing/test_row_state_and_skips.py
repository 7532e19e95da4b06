"""The kit is tried on losses that keep a number for each query, or say that they skip labels, and break one promise."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from xmc.testing import ConformanceError, check_loss


def soft(inputs, temperature_Q):
    """Logistic loss of (mean positive score − mean negative score) / temperature, skipped labels left out."""
    scores_QC, positive_QC = inputs.scores_QC, inputs.relevance_QC > 0
    negative_QC = ~positive_QC & inputs.counted_QC
    positive_Q = (scores_QC * positive_QC).sum(1) / positive_QC.sum(1).clamp(min=1)
    negative_Q = (scores_QC * negative_QC).sum(1) / negative_QC.sum(1).clamp(min=1)
    return -torch.nn.functional.logsigmoid((positive_Q - negative_Q) / temperature_Q) * positive_QC.any(dim=1)


@dataclass(frozen=True)
class Keeps:
    """Its temperature nears the spread of the query's scores, a tenth of the way at each visit."""

    row_state_start: float = 2.0

    claims: ClassVar = {"skips_labels"}

    def state(self, inputs):
        if inputs.row_state_Q is None:
            return inputs.scores_QC.new_full((inputs.scores_QC.shape[0],), self.row_state_start, dtype=torch.float64)
        return inputs.row_state_Q

    def next_row_state(self, inputs):
        return 0.9 * self.state(inputs) + 0.1 * (1 + inputs.scores_QC.detach().abs().mean(dim=1))

    def __call__(self, inputs):
        dtype = torch.promote_types(inputs.scores_QC.dtype, torch.float32)
        return soft(inputs, self.state(inputs).to(dtype)).to(dtype)


class AsksATeacher(Keeps):
    needs: ClassVar = {"teacher"}
    claims: ClassVar = frozenset()

    def next_row_state(self, inputs):
        taught_T = inputs.teacher.scores_T.sigmoid().double()
        return self.state(inputs).double().index_add(0, inputs.teacher.rows_T, 0.01 * taught_T)

    def __call__(self, inputs):
        taught_T, value_Q = inputs.teacher.scores_T.sigmoid(), super().__call__(inputs)
        return value_Q * torch.ones_like(value_Q).index_add(0, inputs.teacher.rows_T, taught_T.to(value_Q.dtype))


class AnotherStart(Keeps):
    def __call__(self, inputs):
        return super().__call__(inputs) * (1 if inputs.row_state_Q is None else 2)


class OneState(Keeps):
    def next_row_state(self, inputs):
        return super().next_row_state(inputs).mean()


class StateWithGradient(Keeps):
    def next_row_state(self, inputs):
        return self.state(inputs) + 0.1 * inputs.scores_QC.abs().mean(dim=1)


class MixesStates(Keeps):
    def next_row_state(self, inputs):
        state_Q = super().next_row_state(inputs)
        return state_Q + state_Q.sum()


class RunsAway(Keeps):
    def next_row_state(self, inputs):
        return self.state(inputs) ** 8 + 0 * inputs.scores_QC.detach().sum(dim=1)


class CountsAll(Keeps):
    """Divides by the number of all labels, skipped or not."""

    def __call__(self, inputs):
        return super().__call__(inputs) / inputs.scores_QC.shape[1]


class TakesSkippedForNegatives(Keeps):
    def __call__(self, inputs):
        log_shares_P = inputs.scores_QC.log_softmax(dim=1)[inputs.positive_rows_P, inputs.positive_columns_P]
        return inputs.sum_over_positives(-log_shares_P)


def test_a_sound_loss_passes():
    check_loss(Keeps())
    check_loss(AsksATeacher())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (AnotherStart(), "without row state it is at its start"),
        (OneState(), "one state per query"),
        (StateWithGradient(), "the next state has no gradient"),
        (MixesStates(), "the states of queries are independent"),
        (RunsAway(), "state and value are finite after 20 visits"),
        (CountsAll(), "claims skips_labels"),
        (TakesSkippedForNegatives(), "claims skips_labels"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_each_broken_promise_is_named(loss, message):
    with pytest.raises(ConformanceError, match=message):
        check_loss(loss)
