"""Invariants: one exact step solves least squares; a block's step is that of the whole Fisher matrix; an invertible map
of the inputs changes nothing; chunks add up; a NaN leaves no trace; a resumed optimiser goes on bit for bit.
"""

import copy
import json
from itertools import pairwise

import pytest
import torch
from torch import nn

from xmc.optimizer_contract import as_saved, from_saved
from xmc_kfac.blocks import Block, TableBlock
from xmc_kfac.factors import averaged, damped_inverses
from xmc_kfac.optimizer import KFac

EXACT = {"damping": 0.0, "decay": 0.0, "momentum": 0.0, "kl_clip": 0.0, "inverse_steps": 1}
SAMPLES, INPUTS, OUTPUTS = 24, 4, 3


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit_targets(samples, outputs):
    """Gradients of squared loss at targets 'drawn' so that their second moment is the identity exactly."""
    return outputs**0.5 * torch.eye(outputs, dtype=torch.float64).repeat(samples // outputs, 1)


def squared_loss(outputs, targets):
    return (outputs - targets).square().sum(dim=1).mean() / 2


def sample(optimizer, model, inputs):
    """The true Fisher matrix of a Gaussian model with unit variance: gradients of the outputs are the noise itself."""
    with optimizer.sampling():
        outputs = model(inputs)
        (outputs * unit_targets(len(outputs), outputs.shape[1])).sum(dim=1).mean().backward()


def net(*widths, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(widths)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1])


def test_one_step_reaches_the_least_squares_optimum():
    inputs, targets, layer = random(SAMPLES, INPUTS), random(SAMPLES, OUTPUTS, seed=1), net(INPUTS, OUTPUTS)
    optimizer = KFac(layer.parameters(), layer, lr=1.0, sampled=True, **EXACT)
    sample(optimizer, layer, inputs)
    squared_loss(layer(inputs), targets).backward()
    optimizer.step()
    with_one = torch.cat([inputs, torch.ones(SAMPLES, 1, dtype=torch.float64)], dim=1)
    best = torch.linalg.lstsq(with_one, targets).solution.T
    torch.testing.assert_close(torch.cat([layer[0].weight, layer[0].bias[:, None]], dim=1), best)


def test_a_blocks_step_is_that_of_the_dense_fisher_matrix():
    """Last block of a net of 17 parameters: F = E[Jᵀ J] over samples and outputs, J from autograd, inverted whole."""
    model = net(2, 3, 2, seed=3)
    assert sum(p.numel() for p in model.parameters()) == 17
    inputs, targets = random(SAMPLES, 2), random(SAMPLES, 2, seed=1)
    block = [model[2].weight, model[2].bias]
    fisher = torch.zeros(8, 8, dtype=torch.float64)
    for row in range(SAMPLES):
        for output in range(2):
            weight, bias = torch.autograd.grad(model(inputs[row : row + 1])[0, output], block)
            flat = torch.cat([weight, bias[:, None]], dim=1).flatten()
            fisher += torch.outer(flat, flat) / SAMPLES
    weight, bias = torch.autograd.grad(squared_loss(model(inputs), targets), block)
    gradient = torch.cat([weight, bias[:, None]], dim=1).flatten()
    expected = torch.cat([block[0], block[1][:, None]], dim=1).flatten() - torch.linalg.solve(fisher, gradient)
    optimizer = KFac(model.parameters(), model, lr=1.0, sampled=True, **EXACT)
    sample(optimizer, model, inputs)
    squared_loss(model(inputs), targets).backward()
    optimizer.step()
    torch.testing.assert_close(torch.cat([block[0], block[1][:, None]], dim=1).flatten(), expected)


def test_damping_is_split_by_the_factors_mean_eigenvalues():
    inputs, outputs = (m @ m.T for m in (random(3, 5), random(2, 4, seed=1)))
    first, second = damped_inverses(inputs, outputs, damping=0.04)
    pi = ((inputs.trace() / 3) / (outputs.trace() / 2)) ** 0.5
    torch.testing.assert_close(torch.linalg.inv(first), inputs + 0.2 * pi * torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.inv(second), outputs + 0.2 / pi * torch.eye(2, dtype=torch.float64))
    for diagonal in (inputs.diagonal().clone(), torch.zeros(3, dtype=torch.float64)):
        whole = damped_inverses(diagonal.diag(), outputs, damping=0.04)[0]
        torch.testing.assert_close(damped_inverses(diagonal, outputs, damping=0.04)[0].diag(), whole)


def test_a_singular_factor_without_damping_has_its_pseudo_inverse():
    singular = torch.outer(random(3), random(3))
    singular = singular @ singular.T
    inverse, _ = damped_inverses(singular, torch.eye(2, dtype=torch.float64), damping=0.0)
    torch.testing.assert_close(singular @ inverse @ singular, singular)


def trajectory(make_optimizer, model, inputs, targets):
    optimizer = make_optimizer(model)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        if isinstance(optimizer, KFac):
            sample(optimizer, model, inputs)
        loss = squared_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("name", "invariant"), [("kfac", True), ("adam", False)])
def test_an_invertible_map_of_the_inputs_changes_nothing_but_adam(name, invariant):
    make = {
        "kfac": lambda m: KFac(m.parameters(), m, lr=0.3, sampled=True, **{**EXACT, "momentum": 0.5}),
        "adam": lambda m: torch.optim.Adam(m.parameters(), lr=0.03),
    }[name]
    inputs, targets, mapping = random(SAMPLES, INPUTS), random(SAMPLES, 2, seed=1), random(INPUTS, INPUTS, seed=2)
    plain, mapped = net(INPUTS, 3, 2), net(INPUTS, 3, 2)
    with torch.no_grad():
        mapped[0].weight.copy_(plain[0].weight @ torch.linalg.inv(mapping))
    first = trajectory(make, plain, inputs, targets)
    second = trajectory(make, mapped, inputs @ mapping.T, targets)
    assert (first == pytest.approx(second, rel=1e-6)) is invariant
    assert first[-1] < first[0]


def test_the_kl_clip_bounds_a_step():
    inputs, targets, rate, limit = random(SAMPLES, INPUTS), 100 * random(SAMPLES, OUTPUTS, seed=1), 0.5, 1e-4
    steps = {}
    for clip in (0.0, limit, 1e9):
        layer = net(INPUTS, OUTPUTS)
        before = layer[0].weight.detach().clone()
        optimizer = KFac(layer.parameters(), layer, lr=rate, **{**EXACT, "damping": 1e-3, "kl_clip": clip})
        squared_loss(layer(inputs), targets).backward()
        (block,) = optimizer.blocks
        gradient = block.gradient().clone()
        optimizer.step()
        state = optimizer.state[layer[0].weight]
        natural = block.natural(gradient, state["inputs_inverse"], state["outputs_inverse"])
        steps[clip] = before - layer[0].weight.detach()
    share = steps[limit] / steps[0.0]
    torch.testing.assert_close(share, share.mean().expand_as(share))
    assert share.mean().item() ** 2 * rate**2 * (natural * gradient).sum().item() == pytest.approx(limit)
    torch.testing.assert_close(steps[1e9], steps[0.0])


class Reader(nn.Module):
    """A table, an LSTM and a linear layer over padded sequences of token ids."""

    def __init__(self, *, bidirectional=True, layers=2):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(11, 3)
        self.lstm = nn.LSTM(3, 4, layers, batch_first=True, bidirectional=bidirectional)
        self.out = nn.Linear(8 if bidirectional else 4, 2)
        self.scale = nn.Parameter(torch.ones(2))
        self.double()

    def forward(self, ids_NT, lengths_N):
        packed = nn.utils.rnn.pack_padded_sequence(
            self.table(ids_NT), lengths_N, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        mask_NT = torch.arange(states.shape[1]) < lengths_N[:, None]
        return self.scale * self.out((states * mask_NT[..., None]).sum(dim=1) / lengths_N[:, None])


def reader_batch():
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 11, (9, 6), generator=generator), torch.tensor([6, 1, 3, 6, 2, 5, 4, 6, 3])


def reader_step(model, optimizer, *, chunk, target=1.0):
    """One step of a mean loss, back-propagated chunk by chunk as the engine does: without a graph, then with one."""
    ids, lengths = reader_batch()
    with torch.no_grad():
        whole = torch.cat([model(ids[i : i + chunk], lengths[i : i + chunk]) for i in range(0, 9, chunk)])
    gradient = (whole - target) / 9
    for start in range(0, 9, chunk):
        rows = slice(start, start + chunk)
        model(ids[rows], lengths[rows]).backward(gradient[rows])
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("chunk", [1, 4])
def test_factors_do_not_depend_on_the_chunks(chunk):
    states = []
    for size in (chunk, 9):
        model = Reader()
        optimizer = KFac(model.parameters(), model, lr=0.1)
        reader_step(model, optimizer, chunk=size)
        states.append(as_saved(optimizer.state_dict())[0])
    assert states[0].keys() == states[1].keys()
    assert len([name for name in states[0] if name.endswith(".outputs")]) == 10  # table, 2 x 2 x 2 of the LSTM, out
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_lstm_blocks_see_what_the_lstm_saw(bidirectional):
    """Their inputs and gate gradients, multiplied, are the gradients that torch's own LSTM leaves on its weights."""
    model = Reader(bidirectional=bidirectional)
    seen = {}

    class Watching(Block):
        def add(self, inputs, gradients, *, samples):
            seen[id(self.weight)] = seen.get(id(self.weight), 0) + gradients.T @ inputs

    optimizer = KFac(model.parameters(), model, lr=0.1)
    for block in optimizer.blocks:
        if not isinstance(block, TableBlock):
            block.add = Watching.add.__get__(block)
    ids, lengths = reader_batch()
    squared_loss(model(ids, lengths), torch.ones(9, 2)).backward()
    weights = [p for p in [*model.lstm.parameters(), model.out.weight] if p.dim() == 2]
    assert len(seen) == len(weights)
    for weight in weights:
        torch.testing.assert_close(seen[id(weight)], weight.grad)


@pytest.mark.parametrize(("shape", "batch_first"), [((5, 6), True), ((6, 5), False), ((6,), True)])
def test_the_lstm_blocks_see_sequences_in_any_order_and_their_first_states(shape, batch_first):
    torch.manual_seed(0)
    lstm, made = nn.LSTM(3, 4, 2, batch_first=batch_first, dtype=torch.float64), {}
    optimizer = KFac(lstm.parameters(), lstm, lr=0.1)
    for number, block in enumerate(optimizer.blocks):
        block.add = lambda inputs, gradients, *, samples, number=number: made.update({number: gradients.T @ inputs})
    starts = [random(2, *(5 for _ in shape[1:]), 4, seed=seed) for seed in (1, 2)]
    lstm(random(*shape, 3), starts)[0].square().sum().backward()
    for number, block in enumerate(optimizer.blocks):
        torch.testing.assert_close(made[number], block.weight.grad)


def test_the_diagonal_factor_of_a_table_is_token_frequency_without_padding():
    model = Reader()
    optimizer = KFac(model.parameters(), model, lr=0.1)
    reader_step(model, optimizer, chunk=9)
    ids, lengths = reader_batch()
    used = torch.cat([row[:length] for row, length in zip(ids, lengths, strict=True)])
    frequency = torch.bincount(used, minlength=11) / len(used)
    torch.testing.assert_close(optimizer.state[model.table.weight]["inputs"], frequency.double())


def test_a_gradient_of_nan_leaves_weights_and_factors_as_they_are():
    model = Reader()
    optimizer = KFac(model.parameters(), model, lr=0.1, inverse_steps=1)
    reader_step(model, optimizer, chunk=9)
    weights, before = copy.deepcopy(model.state_dict()), copy.deepcopy(as_saved(optimizer.state_dict())[0])
    reader_step(model, optimizer, chunk=9, target=float("nan"))
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])
    for name, value in as_saved(optimizer.state_dict())[0].items():
        assert torch.equal(value, before[name])
    reader_step(model, optimizer, chunk=9)
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())
    assert not torch.equal(model.out.weight, weights["out.weight"])


@pytest.mark.parametrize(("after", "spoilt"), [(1, 0), (3, 0), (2, 1)])
def test_a_resumed_optimiser_goes_on_bit_for_bit(after, spoilt):
    """Saved and loaded as a checkpoint does, through JSON and tensors by name; also after a step whose loss was NaN."""
    settings = {"lr": 0.1, "factor_steps": 2, "inverse_steps": 3}
    model = Reader()
    optimizer = KFac(model.parameters(), model, **settings)
    for _ in range(after):
        reader_step(model, optimizer, chunk=4)
    for _ in range(spoilt):
        reader_step(model, optimizer, chunk=4, target=float("nan"))
    other = Reader()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    resumed = KFac(other.parameters(), other, **settings)
    tensors, scalars = copy.deepcopy(as_saved(optimizer.state_dict()))
    resumed.load_state_dict(from_saved(tensors, json.loads(json.dumps(scalars))))
    for _ in range(4):
        reader_step(model, optimizer, chunk=4)
        reader_step(other, resumed, chunk=4)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_parameters_outside_of_layers_learn_by_adamw_at_their_own_rate():
    model = Reader()
    optimizer = KFac([{"params": [*model.parameters()], "lr": 0.1, "peak_lr": 0.1}], model, lr=0.1, others_rate=0.02)
    others = [group for group in optimizer.param_groups if group.get("others")]
    assert [[id(parameter) for parameter in group["params"]] for group in others] == [[id(model.scale)]]
    reader_step(model, optimizer, chunk=9)
    torch.testing.assert_close((model.scale - 1).abs(), torch.full((2,), 0.02, dtype=torch.float64), rtol=1e-4, atol=0)


def test_of_an_lstms_two_biases_the_second_stays():
    """And its gradient does not pile up over the steps, for it counts when gradients are clipped."""
    model = Reader()
    optimizer = KFac(model.parameters(), model, lr=0.1, weight_decay=0.1)
    before = copy.deepcopy(model.lstm.state_dict())
    reader_step(model, optimizer, chunk=9)
    for name, value in model.lstm.named_parameters():
        assert torch.equal(value, before[name]) == name.startswith("bias_hh"), name
        assert value.grad is None


def test_the_average_forgets():
    first = averaged(None, torch.ones(2), decay=0.9)
    assert averaged(first, torch.zeros(2), decay=0.9).tolist() == pytest.approx([0.9, 0.9])
