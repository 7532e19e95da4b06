"""Invariants: the kit accepts core's optimisers and K-FAC, and names the promise that another one breaks."""

from dataclasses import dataclass

import pytest
import torch

from xmc.testing import ConformanceError, check_optimizer
from xmc.train.core_optimizers import AdamW, RowAdagradOptions, Sgd
from xmc.train.muon import Muon
from xmc_kfac.options import KFacOptions


@pytest.mark.parametrize(
    "options",
    [AdamW(), RowAdagradOptions(), Sgd(), Sgd(momentum=0.0), Muon(), KFacOptions(factor_steps=2, inverse_steps=3)],
    ids=repr,
)
def test_optimisers_that_keep_the_contract(options):
    check_optimizer(options)


class Forgetful(torch.optim.SGD):
    """Keeps its momentum outside of its state."""

    def state_dict(self):
        return {**super().state_dict(), "state": {}}


class OwnRate(torch.optim.SGD):
    """Does not look at the rate that the schedule sets."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = 0.01
        super().step(closure)


class FirstRate(torch.optim.SGD):
    """Has the rate of the first group for all."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = self.param_groups[0]["lr"]
        super().step(closure)


class Upwards(torch.optim.SGD):
    """Climbs."""

    def __init__(self, groups, **options):
        super().__init__(groups, maximize=True, **options)


class Shrinks(torch.optim.SGD):
    """Decays what has no gradient."""

    def step(self, closure=None):
        super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.mul_(1 - group["lr"] / 100)


class Without(torch.optim.SGD):
    """Loses what the schedule needs."""

    def __init__(self, groups, **options):
        super().__init__([{"params": group["params"]} for group in groups], **options)


class Seeds(torch.optim.SGD):
    """Draws the same numbers each time, and so does everything after it."""

    def step(self, closure=None):
        torch.manual_seed(0)
        super().step(closure)


class Some(torch.optim.SGD):
    """Leaves a parameter out."""

    def __init__(self, groups, **options):
        super().__init__([{**group, "params": group["params"][1:]} for group in groups], **options)


class Counts(torch.optim.SGD):
    """Counts its steps in the state of each parameter, as `counter` makes it, and looks at them."""

    counter = int

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                steps = self.state[parameter].get("step", self.counter())
                self.state[parameter]["step"] = self.next(steps)
                with torch.no_grad():
                    parameter.sub_(group["lr"] * 1e-3 * self.count(steps))

    def next(self, steps):
        return steps + 1

    def count(self, steps):
        return steps


class CountsInASet(Counts):
    counter = frozenset

    def next(self, steps):
        return steps | {len(steps)}

    def count(self, steps):
        return len(steps)


class KeepsMore(torch.optim.SGD):
    def state_dict(self):
        return {**super().state_dict(), "more": 1}


def test_a_number_in_the_state_is_kept():
    @dataclass(frozen=True)
    class Options:
        def build(self, context):
            return CountsOnlyWhatLearns(context.groups, lr=context.train.learning_rate, momentum=0.9)

    class CountsOnlyWhatLearns(Counts):
        def step(self, closure=None):
            without = [p for group in self.param_groups for p in group["params"] if p.grad is None]
            before = [parameter.detach().clone() for parameter in without]
            super().step(closure)
            for parameter, value in zip(without, before, strict=True):
                parameter.data.copy_(value)

    check_optimizer(Options())


@pytest.mark.parametrize(
    ("optimizer", "promise"),
    [
        (CountsInASet, "a resumed one goes on: raised PluginError: the optimiser keeps 'step' as frozenset"),
        (KeepsMore, r"has 'more' beside 'state' and 'param_groups'"),
        (Forgetful, "goes on bit for bit"),
        (OwnRate, "a learning rate of 0 moves nothing"),
        (FirstRate, "a group of rate 0 stays, while others move"),
        (Upwards, "the loss falls"),
        (Shrinks, "a parameter without gradient stays"),
        (Without, "each group has lr and peak_lr"),
        (Seeds, "torch's random generator is left alone"),
        (Some, "every parameter is in one group"),
    ],
)
def test_a_broken_promise_is_named(optimizer, promise):
    @dataclass(frozen=True)
    class Options:
        def build(self, context):
            return optimizer(context.groups, lr=context.train.learning_rate, momentum=0.9)

    with pytest.raises(ConformanceError, match=promise):
        check_optimizer(Options())


def test_options_must_be_frozen():
    @dataclass
    class Loose:
        rate: float = 0.1

    with pytest.raises(ConformanceError, match="frozen"):
        check_optimizer(Loose())
