"""What every optimiser must keep to; a plugin's whole test may be `check_optimizer(MyOptimizer())`."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xmc.api import OptimizerContext, OptimizerOptions
from xmc.optimizer_contract import as_saved, from_saved
from xmc.testing.conformance import expect, keep_to, plain_options
from xmc.testing.global_state import left_alone
from xmc.train.options import TrainOptions

TEXTS, STEPS, RATE = 12, 30, 0.03


def check_optimizer(options: OptimizerOptions) -> None:
    """Check the contract of an optimiser, by training with it.

    Its options are plain; its groups have a rate that the schedule can set; the loss falls; a rate of 0 moves nothing;
    a gradient may come in chunks, and parameters may have none; a saved state goes on bit for bit. And it leaves
    torch's random generator, default dtype, gradient mode and threads alone.

    It trains a table, an LSTM and a linear layer for a few steps.

    Raises: ConformanceError naming the optimiser, the promise and the numbers.

    >>> from xmc.train.core_optimizers import Sgd
    >>> check_optimizer(Sgd())
    """
    for check in CHECKS:
        keep_to(check, options, subject=options)


class ExampleModel(nn.Module):
    """Token ids in, vectors out."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6)
        self.reader = nn.LSTM(6, 5, batch_first=True)
        self.project = nn.Linear(5, 3)

    def forward(self, ids_NT: Tensor) -> Tensor:
        """The projected mean state, (N, 3)."""
        vectors: Tensor = self.project(self.reader(self.table(ids_NT))[0].mean(dim=1))
        return vectors


def example_model() -> ExampleModel:
    """The same weights at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ExampleModel()


def _context(model: ExampleModel) -> OptimizerContext:
    """Two groups, as of an encoder whose labels have parameters of their own."""
    own = list(model.project.parameters())
    others = [*model.table.parameters(), *model.reader.parameters()]
    groups = [{"params": parameters, "lr": RATE, "peak_lr": RATE} for parameters in (others, own)]
    return OptimizerContext(groups, model, TrainOptions(learning_rate=RATE))


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 20, (TEXTS, 4), generator=generator), torch.randn(TEXTS, 3, generator=generator)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, *, chunk: int = TEXTS, share: float = 1.0) -> float:
    """A step on the mean squared error, back-propagated in chunks; the loss before it."""
    ids, targets = _batch()
    loss = 0.0
    for start in range(0, TEXTS, chunk):
        rows = slice(start, start + chunk)
        part = (model(ids[rows]) - targets[rows]).square().sum() / TEXTS
        part.backward()
        loss += float(part.detach())
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * share
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def _options_are_plain(options: Any) -> None:
    plain_options(options, section="optimizer")


def _the_rest_is_left_alone(options: OptimizerOptions) -> None:
    with left_alone(options):
        model = example_model()
        _step(model, options.build(_context(model)))


def _groups_are_sound(options: OptimizerOptions) -> None:
    model = example_model()
    optimizer = options.build(_context(model))
    expect(isinstance(optimizer, torch.optim.Optimizer), options, "build() answers a torch optimiser", got=optimizer)
    groups = optimizer.param_groups
    expect(all({"lr", "peak_lr"} <= group.keys() for group in groups), options, "each group has lr and peak_lr")
    held = [id(parameter) for group in groups for parameter in group["params"]]
    wanted = sorted(id(parameter) for parameter in model.parameters())
    expect(sorted(held) == wanted, options, "every parameter is in one group", held=len(held), parameters=len(wanted))


def _a_loss_falls(options: OptimizerOptions) -> None:
    model = example_model()
    optimizer = options.build(_context(model))
    losses = [_step(model, optimizer) for _ in range(STEPS)]
    expect(losses[-1] < losses[0], options, f"the loss falls in {STEPS} steps", first=losses[0], last=losses[-1])


def _a_rate_of_zero_moves_nothing(options: OptimizerOptions) -> None:
    model = example_model()
    optimizer, before = options.build(_context(model)), _weights(model)
    _step(model, optimizer, share=0.0)
    moved = [name for name, value in _weights(model).items() if not torch.equal(value, before[name])]
    expect(not moved, options, "a learning rate of 0 moves nothing", moved=moved)


def _groups_have_rates_of_their_own(options: OptimizerOptions) -> None:
    model = example_model()
    optimizer, before = options.build(_context(model)), _weights(model)
    own = {id(parameter) for parameter in model.project.parameters()}
    for group in optimizer.param_groups:
        if own & {id(parameter) for parameter in group["params"]}:
            group["peak_lr"] = 0.0
    _step(model, optimizer)
    moved = {name for name, value in _weights(model).items() if not torch.equal(value, before[name])}
    kept = bool(moved) and not any(name.startswith("project.") for name in moved)
    expect(kept, options, "a group of rate 0 stays, while others move", moved=sorted(moved))


def _chunks_make_no_difference(options: OptimizerOptions) -> None:
    found = []
    for chunk in (1, TEXTS):
        model = example_model().double()
        optimizer = options.build(_context(model))
        for _ in range(3):
            _step(model, optimizer, chunk=chunk)
        found.append(_weights(model))
    for name, value in found[0].items():
        difference = float((value - found[1][name]).abs().max())
        expect(difference < 1e-6, options, f"chunks of texts make no difference to {name}", difference=difference)


def _a_parameter_without_gradient_stays(options: OptimizerOptions) -> None:
    model = example_model()
    optimizer, before = options.build(_context(model)), _weights(model)
    model.table(_batch()[0]).square().mean().backward()
    optimizer.step()
    moved = {name for name, value in _weights(model).items() if not torch.equal(value, before[name])}
    expect(moved <= {"table.weight"}, options, "a parameter without gradient stays", moved=sorted(moved))


def _a_resumed_one_goes_on(options: OptimizerOptions) -> None:
    """Tensors by name and JSON, as a checkpoint holds them."""
    for steps in (1, 3):
        model, other = example_model(), example_model()
        optimizer, resumed = options.build(_context(model)), options.build(_context(other))
        for _ in range(steps):
            _step(model, optimizer)
        other.load_state_dict(model.state_dict())
        tensors, scalars = as_saved(optimizer.state_dict())
        resumed.load_state_dict(from_saved(copy.deepcopy(tensors), json.loads(json.dumps(scalars))))
        for _ in range(4):
            _step(model, optimizer)
            _step(other, resumed)
        old, new = _weights(model), _weights(other)
        same = all(torch.equal(value, new[name]) for name, value in old.items())
        expect(same, options, "saved and loaded it goes on bit for bit", saved_after=steps)


CHECKS: tuple[Callable[[Any], None], ...] = (
    _options_are_plain,
    _the_rest_is_left_alone,
    _groups_are_sound,
    _a_loss_falls,
    _a_rate_of_zero_moves_nothing,
    _groups_have_rates_of_their_own,
    _chunks_make_no_difference,
    _a_parameter_without_gradient_stays,
    _a_resumed_one_goes_on,
)
