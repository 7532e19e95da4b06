"""Invariants: what is not one value per query with a gradient stops the training and is named."""

from dataclasses import dataclass

import pytest
import torch

from xmc.config import build_options
from xmc.errors import PluginError
from xmc.train.scorer import Pairs, score_batch


@dataclass(frozen=True)
class Answers:
    """A loss that answers what a test wants of the sum of the scores of each query."""

    answer: object

    def __call__(self, inputs):
        return self.answer(inputs.scores_QC.sum(dim=1))


def learn(loss, rows_at_once=2):
    queries_QD, labels_LD = torch.ones(5, 3), torch.ones(4, 3)
    pairs = Pairs(torch.tensor([0, 3]), torch.tensor([1, 2]), torch.ones(2))
    return score_batch(queries_QD, labels_LD, pairs, loss, pool="row", rows_at_once=rows_at_once)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.mean, r"loss Answers: one value per query is wanted, a tensor of shape \(2,\), got one of shape \(\)"),
        (lambda loss_Q: loss_Q[:, None], r"got one of shape \(2, 1\).*not reduced"),
        (lambda loss_Q: loss_Q.detach().numpy(), r"got numpy\.ndarray"),
        (lambda loss_Q: None, r"got builtins\.NoneType"),
        (lambda loss_Q: loss_Q.detach(), "no gradient.*without detach"),
        (lambda loss_Q: torch.zeros(2, requires_grad=True), "do not depend on inputs.scores_QC"),
    ],
    ids=["mean", "column", "numpy", "nothing", "detached", "constant"],
)
def test_it_is_refused_by_name(answer, message):
    with pytest.raises(PluginError, match=message):
        learn(Answers(answer))


@pytest.mark.parametrize(
    "change", [lambda: torch.set_grad_enabled(False), lambda: torch.set_default_dtype(torch.float64)]
)
def test_a_loss_that_changes_torch_for_all_is_told_and_it_is_put_back(change):
    with pytest.raises(PluginError, match="loss Answers: it leaves torch's gradient mode or default dtype changed"):
        learn(Answers(lambda loss_Q: (loss_Q, change())[0]))
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


def test_a_parameter_that_nothing_would_train_is_refused():
    @dataclass(frozen=True)
    class Learned:
        warmth: float = 1.0

        def __post_init__(self):
            object.__setattr__(self, "scale", self.made())

        def made(self):
            return torch.nn.Parameter(torch.ones(()))

        def __call__(self, inputs):
            return inputs.scores_QC.sum(dim=1) * self.warmth

    class InAModule(Learned):
        def made(self):
            return torch.nn.Linear(2, 2)

    class Constant(Learned):
        def made(self):
            return torch.ones(2)

    for loss in (Learned(), InAModule()):
        with pytest.raises(PluginError, match=r"loss \w+: 'scale' wants a gradient, .*Make it a setting"):
            learn(loss)
    learn(Constant())


def test_one_value_per_query_is_taken():
    assert learn(Answers(lambda loss_Q: 2 * loss_Q)).losses_Q.tolist() == [24.0] * 5


def test_a_call_of_another_signature_is_told_from_an_error_of_the_loss():
    class Two:
        def __call__(self, scores, labels):
            return scores

    with pytest.raises(PluginError, match=r"loss Two: it is called with one argument.*missing.*labels.*self, inputs"):
        learn(Two())
    with pytest.raises(TypeError, match="unsupported operand"):
        learn(Answers(lambda loss_Q: loss_Q + "a"))


def test_what_cannot_be_called_and_what_is_no_dataclass_are_named():
    class Plain:
        pass

    with pytest.raises(PluginError, match=r"loss Plain: it cannot be called.*__call__"):
        learn(Plain())
    with pytest.raises(PluginError, match=r"\[loss\] 'Plain' is no dataclass.*@dataclass\(frozen=True\)"):
        build_options(Plain, {}, section="loss")
