"""The kit is tried on losses that break one promise each: it must name that promise."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

from xmc.api import LossInputs
from xmc.testing import ConformanceError, check_loss
from xmc.testing.conformance import plain_options


def soft(inputs):
    """A sound loss: logistic loss of (mean positive score − mean negative score)."""
    scores_QC, positive_QC = inputs.scores_QC, (inputs.relevance_QC > 0)
    negative_QC = ~positive_QC
    positive_Q = (scores_QC * positive_QC).sum(1) / positive_QC.sum(1).clamp(min=1)
    negative_Q = (scores_QC * negative_QC).sum(1) / negative_QC.sum(1).clamp(min=1)
    return -torch.nn.functional.logsigmoid(positive_Q - negative_Q) * positive_QC.any(dim=1)


@dataclass(frozen=True)
class Sound:
    slope: float = 1.0

    def __call__(self, inputs: LossInputs):
        return self.slope * soft(inputs)


class OneNumber(Sound):
    def __call__(self, inputs):
        return soft(inputs).mean()


class Nothing(Sound):
    def __call__(self, inputs):
        soft(inputs)


class Detached(Sound):
    def __call__(self, inputs):
        return soft(inputs).detach()


class Constant(Sound):
    def __call__(self, inputs):
        return torch.ones(len(inputs.scores_QC), requires_grad=True)


class Infinite(Sound):
    def __call__(self, inputs):
        return soft(inputs) / 0.0


class WritesIntoScores(Sound):
    def __call__(self, inputs):
        value_Q = soft(LossInputs.from_dense(inputs.scores_QC.clone(), inputs.relevance_QC))
        inputs.scores_QC.data[inputs.relevance_QC > 0] = -100.0
        return value_Q


class WritesIntoRelevance(Sound):
    def __call__(self, inputs):
        value_Q = soft(inputs)
        inputs.relevance_QC[0, 0] += 1
        return value_Q


class WritesIntoSampling(Sound):
    def __call__(self, inputs):
        if inputs.log_inclusion_C is not None:
            inputs.log_inclusion_C.mul_(2)
        return super().__call__(inputs)


class AsksForPositives(Sound):
    def __call__(self, inputs):
        return soft(inputs) + 1


class PositivesOfOthers(Sound):
    def __call__(self, inputs):
        return soft(inputs) + (inputs.relevance_QC > 0).any()


class NoNegativesNan(Sound):
    def __call__(self, inputs):
        negatives_Q = (inputs.relevance_QC == 0).sum(dim=1)
        return soft(inputs) * negatives_Q / negatives_Q


class KnowsColumns(Sound):
    def __call__(self, inputs):
        return soft(inputs) * (1 + inputs.relevance_QC[:, 0])


class MixesQueries(Sound):
    def __call__(self, inputs):
        return soft(inputs) * soft(inputs).mean()


class CountsOtherPositives(Sound):
    """A leak that is 1 where all queries have equally many positives."""

    def __call__(self, inputs):
        return soft(inputs) * len(inputs.scores_QC) / max(len(inputs.positive_rows_P), 1)


class KnowsRows(Sound):
    def __call__(self, inputs):
        return soft(inputs) * (1 + torch.arange(len(inputs.scores_QC)))


class WantsFiveLabels(Sound):
    def __call__(self, inputs):
        return soft(inputs) + 0 * inputs.scores_QC.topk(5, dim=1).values.sum(dim=1)


class NanAgainstOneLabel(Sound):
    def __call__(self, inputs):
        labels = inputs.scores_QC.shape[1]
        return soft(inputs) * ((labels - 1) / torch.tensor(labels - 1.0))


class Chance(Sound):
    def __call__(self, inputs):
        return soft(inputs) * (1 + torch.rand(()))


class Seeds(Sound):
    def __call__(self, inputs):
        torch.manual_seed(0)
        return soft(inputs)


class Doubles(Sound):
    def __call__(self, inputs):
        torch.set_default_dtype(torch.float64)
        return soft(inputs)


class LeavesGradientsOff(Sound):
    def __call__(self, inputs):
        torch.set_grad_enabled(True)
        value_Q = soft(inputs)
        torch.set_grad_enabled(False)
        return value_Q


@dataclass(frozen=True)
class Moody(Sound):
    calls: list[int] = field(init=False, default_factory=list)

    def __call__(self, inputs):
        self.calls.append(1)
        return soft(inputs) * len(self.calls)


class UpsideDown(Sound):
    def __call__(self, inputs):
        return soft(LossInputs.from_dense(-inputs.scores_QC, inputs.relevance_QC))


class Overflows(Sound):
    def __call__(self, inputs):
        return soft(inputs).exp()


class Coarse(Sound):
    def __call__(self, inputs):
        if inputs.scores_QC.dtype == torch.bfloat16:
            return soft(LossInputs.from_dense((inputs.scores_QC / 4).round() * 4, inputs.relevance_QC))
        return soft(inputs)


class WrongGradient(Sound):
    def __call__(self, inputs):
        value_Q = soft(inputs)
        return value_Q + 0.01 * (value_Q - value_Q.detach())


class ChangesAnOption(Sound):
    def __post_init__(self):
        object.__setattr__(self, "slope", self.slope / 2)


@dataclass(frozen=True)
class NoTomlOption(Sound):
    offset: complex = 0j


@dataclass
class Thawed:
    def __call__(self, inputs):
        return soft(inputs)


class Undescribed:
    def __call__(self, inputs):
        return soft(inputs)


class ClaimsScale(Sound):
    claims: ClassVar = {"shift_invariant", "scale_invariant"}


class ClaimsShift(Sound):
    claims: ClassVar = {"shift_invariant"}

    def __call__(self, inputs):
        negatives_Q = (inputs.scores_QC.sigmoid() * (inputs.relevance_QC == 0)).sum(1)
        return soft(inputs) + negatives_Q * (inputs.relevance_QC > 0).any(1)


class ClaimsNoCompetition(Sound):
    claims: ClassVar = {"positives_do_not_compete"}

    def __call__(self, inputs):
        relevance_QC = inputs.relevance_QC
        value_QC = -inputs.scores_QC.log_softmax(dim=1) * relevance_QC
        return value_QC.sum(1) / relevance_QC.sum(1).clamp(min=1e-9)


class ClaimsNonsense(Sound):
    claims: ClassVar = {"shift_invarient"}


def test_a_sound_loss_passes():
    check_loss(Sound())


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (OneNumber(), r"one value per query is wanted, a tensor of shape \(6,\), got .* no \.mean\(\)"),
        (Nothing(), "one value per query is wanted, .* got builtins.NoneType"),
        (Detached(), "its values have no gradient, .* without detach"),
        (Constant(), "its values do not depend on inputs.scores_QC"),
        (Infinite(), "values are finite"),
        (WritesIntoScores(), "scores_QC is not written into"),
        (WritesIntoRelevance(), "relevance_QC is not written into"),
        (WritesIntoSampling(), "log_inclusion_C is not written into"),
        (AsksForPositives(), "queries without positives give 0"),
        (PositivesOfOthers(), "one query without positives among others gives 0"),
        (NoNegativesNan(), "finite without negatives"),
        (KnowsColumns(), "the order of the labels does not matter"),
        (MixesQueries(), "pool='row': queries do not influence each other"),
        (CountsOtherPositives(), "pool='row': queries do not influence each other"),
        (KnowsRows(), "the order of the queries does not matter"),
        (WantsFiveLabels(), "few labels are enough: raised RuntimeError"),
        (NanAgainstOneLabel(), "finite where labels = 1, of which relevant = 0"),
        (Chance(), "torch's random generator is left alone"),
        (Seeds(), "torch's random generator is left alone"),
        (Doubles(), "torch's default dtype is left alone"),
        (LeavesGradientsOff(), "whether torch keeps gradients is left alone"),
        (Moody(), "called twice it answers the same"),
        (UpsideDown(), r"raising the only positive's score to -.* must not raise the loss; before="),
        (Overflows(), "queries without positives give 0"),
        (Coarse(), "bfloat16 is near float64"),
        (WrongGradient(), "the gradient at query 0, label 0 is the slope; gradient="),
        (ChangesAnOption(), "options go through TOML; back=ChangesAnOption"),
        (NoTomlOption(), "options go through TOML; error="),
        (Thawed(), "a loss is a frozen dataclass"),
        (Undescribed(), "a loss is a dataclass"),
        (ClaimsScale(), "claims scale_invariant"),
        (ClaimsShift(), "claims shift_invariant"),
        (ClaimsNoCompetition(), "claims positives_do_not_compete, so none is pushed down; gradient="),
        (ClaimsNonsense(), r"unknown claim 'shift_invarient'.*Did you mean 'shift_invariant'\?"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_each_broken_promise_is_named(loss, message):
    with pytest.raises(ConformanceError, match=message):
        check_loss(loss)


@dataclass(frozen=True)
class Part:
    size: int = 3


@dataclass(frozen=True)
class ManyOptions(Sound):
    part: Part = Part()
    parts: tuple[Part, ...] = (Part(1), Part(2))
    names: dict[str, float] = field(default_factory=lambda: {"a": 1.0})
    derived: float = field(init=False, default=2.0)


def test_what_a_loss_changes_for_the_whole_program_is_put_back():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for loss in (Seeds(), Doubles(), LeavesGradientsOff()):
        with pytest.raises(ConformanceError):
            check_loss(loss)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


def test_options_may_be_all_that_a_configuration_holds():
    check_loss(ManyOptions())
    assert plain_options(ManyOptions(part=Part(4)), section="loss").part.size == 4


def test_a_batch_loss_may_mix_queries():
    check_loss(MixesQueries(), pool="batch")


def test_scores_of_ten_thousand_that_overflow_are_found():
    class Exponential(Sound):
        def __call__(self, inputs):
            value_Q = soft(inputs)
            return torch.expm1(value_Q)

    with pytest.raises(ConformanceError, match="finite at scores of ±10,000"):
        check_loss(Exponential())


class Lengths(Sound):
    needs: ClassVar = {"norms"}

    def __call__(self, inputs):
        return soft(inputs) if inputs.query_norms_Q is None else soft(inputs) / self.length(inputs.query_norms_Q)

    def length(self, norms_Q):
        return norms_Q


class LengthsHeldConstant(Lengths):
    def length(self, norms_Q):
        return norms_Q.detach()


class LengthsOfNothing(Lengths):
    def length(self, norms_Q):
        return norms_Q - norms_Q


class Misspells(Sound):
    needs: ClassVar = {"norm"}


class WritesIntoTheTeacher(Sound):
    needs: ClassVar = {"teacher"}

    def __call__(self, inputs):
        teacher = inputs.teacher
        value_Q = soft(inputs) * (1 + teacher.scores_T.sigmoid().mean())
        teacher.scores_T.mul_(2)
        return value_Q


def test_a_loss_of_lengths_and_one_of_a_teacher_are_tried_with_them():
    check_loss(Lengths())
    for loss, message in (
        (LengthsHeldConstant(), "the gradient in the queries' lengths is the slope"),
        (Misspells(), r"unknown need 'norm', known are .*'norms'.*Did you mean 'norms'\?"),
        (LengthsOfNothing(), "finite with the lengths of embeddings"),
    ):
        with pytest.raises(ConformanceError, match=message):
            check_loss(loss)
    with pytest.raises(ConformanceError, match="the teacher's scores are not written into"):
        check_loss(WritesIntoTheTeacher(), pool="batch")


class Zero(Sound):
    def __call__(self, inputs):
        return 0.0 * inputs.scores_QC.sum(dim=1)


class PositivesOnly(Sound):
    def __call__(self, inputs):
        rows_P, columns_P = inputs.positive_rows_P, inputs.positive_columns_P
        return inputs.sum_over_positives(torch.nn.functional.softplus(-inputs.scores_QC[rows_P, columns_P]), mean=True)


class PushesNegativesUp(PositivesOnly):
    def __call__(self, inputs):
        negative_QC = (inputs.relevance_QC == 0) & (inputs.relevance_QC > 0).any(dim=1, keepdim=True)
        return super().__call__(inputs) + (torch.nn.functional.softplus(-inputs.scores_QC) * negative_QC).sum(dim=1)


class NegativesOnly(Sound):
    def __call__(self, inputs):
        negative_QC = (inputs.relevance_QC == 0) & (inputs.relevance_QC > 0).any(dim=1, keepdim=True)
        return (torch.nn.functional.softplus(inputs.scores_QC) * negative_QC).sum(dim=1)


class ZeroInFloat32(Sound):
    def __call__(self, inputs):
        return soft(inputs) * (0.0 if inputs.scores_QC.dtype == torch.float32 else 1.0)


class NoGradientInFloat32(Sound):
    def __call__(self, inputs):
        value_Q = soft(inputs)
        return value_Q.detach() + 0.0 * value_Q if inputs.scores_QC.dtype == torch.float32 else value_Q


class CrashesOnASample(Sound):
    def __call__(self, inputs):
        if inputs.log_inclusion_C is not None:
            raise IndexError("sampled")
        return soft(inputs)


class CountsASample(Sound):
    def __call__(self, inputs):
        return soft(inputs) * (1 if inputs.log_inclusion_C is None else 2)


class NotANumber(Sound):
    def __call__(self, inputs):
        return soft(inputs) * float("nan")


class Misspelt(Sound):
    def __call__(self, inputs):
        return soft(inputs) + inputs.score_QC.sum(dim=1)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (NotANumber(), "values are finite; value="),
        (Misspelt(), "answers what the engine takes: raised AttributeError: .*score_QC"),
        (Zero(), "the value depends on the scores"),
        (PositivesOnly(), "raising the best negative's score raises the loss"),
        (PushesNegativesUp(), "raising the best negative's score must not lower the loss"),
        (NegativesOnly(), "raising the only positive's score lowers the loss"),
        (ZeroInFloat32(), "float32 is near float64; value="),
        (NoGradientInFloat32(), "the gradient in float32 is near that in float64"),
        (CrashesOnASample(), "sampled labels are taken: raised IndexError: sampled"),
        (CountsASample(), "labels drawn with probability 1 count as all labels"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_loss_that_teaches_nothing_or_the_wrong_thing_is_named(loss, message):
    with pytest.raises(ConformanceError, match=message):
        check_loss(loss)


def test_a_message_shows_the_first_numbers_and_the_place():
    class NanInOnePlace(Sound):
        def __call__(self, inputs):
            return soft(inputs) * torch.where(inputs.scores_QC.max(dim=1).values == 1e4, torch.nan, 1.0)

    with pytest.raises(
        ConformanceError, match=r"gradient=\[(-?[\w.-]+, ){6}… 72 numbers of shape \(6, 12\)\]; .* at \["
    ) as raised:
        check_loss(NanInOnePlace())
    assert len(str(raised.value)) < 600
