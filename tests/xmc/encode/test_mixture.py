"""Invariants of the layer: the naive formula, its gradients, balance and capacity; experts find planted clusters."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmc.encode.mixture import (
    MixtureOfExperts,
    MixtureOptions,
    all_experts,
    balance_loss,
    keep_top,
    kept_experts,
    within_capacity,
)


def layer_of(*, dimension=5, seed=0, **options):
    layer = MixtureOfExperts(dimension, MixtureOptions(**options), seed=seed).double()
    with torch.no_grad():  # far from the identity
        layer.moves_EDD.copy_(torch.randn(layer.moves_EDD.shape, dtype=torch.float64) / layer.options.rate)
        layer.gate.bias.copy_(torch.randn(layer.gate.bias.shape, dtype=torch.float64) / layer.options.rate)
    return layer


def rows(count, dimension=5):
    return torch.randn(count, dimension, dtype=torch.float64)


def naive(layer, inputs_ND):
    """The definition, text by text."""
    answers = []
    for row in inputs_ND:
        logits = layer.options.rate * layer.gate(row)
        kept = sorted(range(len(logits)), key=lambda i: -logits[i])[: layer.options.kept]
        weights = torch.softmax(logits[kept], 0)
        answers.append(sum(w * layer.experts()[i] @ row for w, i in zip(weights, kept, strict=True)))
    return torch.stack(answers)


@given(st.integers(1, 9), st.integers(1, 8), st.data())
def test_it_is_the_definition(count, experts, data):
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    layer = layer_of(experts=experts, kept=data.draw(st.integers(1, experts)))
    inputs_ND = rows(count)
    torch.testing.assert_close(layer(inputs_ND), naive(layer, inputs_ND))


def test_all_kept_is_the_dense_softmax_mixture():
    torch.manual_seed(0)
    layer, inputs_ND = layer_of(experts=4, kept=4), rows(20)
    gates_NE = (layer.options.rate * layer.gate(inputs_ND)).softmax(1)
    expected = torch.einsum("ne,eij,nj->ni", gates_NE, layer.experts(), inputs_ND)
    torch.testing.assert_close(layer(inputs_ND), expected)


def test_the_sparse_and_the_traced_form_agree_in_values_and_gradients():
    torch.manual_seed(1)
    layer, inputs_ND = layer_of(experts=6, kept=2), rows(30).requires_grad_()
    gates_NK, chosen_NK = keep_top(layer.gate(inputs_ND), 2)
    found = []
    for form in (kept_experts, all_experts):
        answer = form(inputs_ND, layer.moves_EDD, gates_NK, chosen_NK)
        gradients = torch.autograd.grad(answer.sin().sum(), [inputs_ND, layer.moves_EDD, gates_NK], retain_graph=True)
        found.append((answer, *gradients))
    for sparse, dense in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense)


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(2)
    layer, inputs_ND = layer_of(experts=4, kept=2, dimension=3).eval(), rows(6, 3).requires_grad_()
    assert torch.autograd.gradcheck(layer, (inputs_ND,))


def test_gates_sum_to_one_and_gradients_reach_the_kept_experts_only():
    torch.manual_seed(3)
    layer, inputs_ND = layer_of(experts=7, kept=3, balance=0), rows(1)
    gates_NK, chosen_NK = keep_top(layer.gate(inputs_ND), 3)
    torch.testing.assert_close(gates_NK.sum(1), torch.ones(1, dtype=torch.float64))
    layer(inputs_ND).sum().backward()
    touched = {e for e in range(7) if layer.moves_EDD.grad[e].abs().sum() > 0}
    assert touched == set(chosen_NK[0].tolist())
    gates_touched = {e for e in range(7) if layer.gate.weight.grad[e].abs().sum() > 0}
    assert gates_touched == touched


def test_renaming_the_experts_changes_nothing():
    torch.manual_seed(4)
    layer, inputs_ND = layer_of(experts=5, kept=2), rows(20)
    expected, order = layer(inputs_ND), torch.randperm(5)
    with torch.no_grad():
        for tensor in (layer.gate.weight, layer.gate.bias, layer.moves_EDD):
            tensor.copy_(tensor[order])
    torch.testing.assert_close(layer(inputs_ND), expected)


def test_a_text_does_not_depend_on_those_beside_it_outside_of_training():
    torch.manual_seed(5)
    layer, inputs_ND = layer_of(experts=4, kept=2, capacity=1).eval(), rows(16)
    alone = torch.cat([layer(row[None]) for row in inputs_ND])
    torch.testing.assert_close(layer(inputs_ND), alone)
    assert not torch.allclose(layer.train()(inputs_ND), alone)  # where capacity counts


def test_one_step_of_an_optimiser_moves_the_maps_by_rate_times_the_step():
    torch.manual_seed(8)
    layer = MixtureOfExperts(4, MixtureOptions(experts=2, kept=2, rate=0.01, balance=0))
    before = layer.experts()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.5)
    layer(rows(30, 4).float()).sum().backward()
    optimizer.step()
    torch.testing.assert_close((layer.experts() - before).abs(), torch.full((2, 4, 4), 0.005), rtol=1e-3, atol=1e-6)


def test_no_rows_are_no_rows():
    layer = layer_of(experts=4, kept=2, capacity=1)
    assert layer(rows(0)).shape == (0, 5)
    assert layer.shares(rows(0)).tolist() == [0, 0, 0, 0]


@given(st.integers(1, 40), st.integers(2, 6), st.floats(1, 3), st.integers(0, 1000))
def test_an_expert_takes_its_largest_gates_up_to_its_capacity(count, experts, capacity, seed):
    torch.manual_seed(seed)
    options = MixtureOptions(experts=experts, kept=2, capacity=capacity)
    gates_NK, chosen_NK = keep_top(3 * torch.randn(count, experts), 2)
    taken_NK = within_capacity(gates_NK, chosen_NK, options)
    limit = -(-int(capacity * 2 * count) // experts)
    for expert in range(experts):
        wanted, taken = gates_NK[chosen_NK == expert], gates_NK[taken_NK & (chosen_NK == expert)]
        assert len(taken) == min(limit, len(wanted))
        assert torch.equal(taken.sort().values, wanted.sort().values[len(wanted) - len(taken) :])


def test_what_finds_no_place_goes_past_the_experts_unchanged():
    layer = layer_of(experts=2, kept=1, capacity=1)
    with torch.no_grad():  # all want the first
        layer.gate.weight.zero_()
        layer.gate.bias.copy_(torch.tensor([1.0, 0.0]))
    inputs_ND = rows(6)
    answers_ND = layer(inputs_ND)
    unchanged = (answers_ND == inputs_ND).all(1)
    assert unchanged.sum() == 3
    torch.testing.assert_close(answers_ND[~unchanged], inputs_ND[~unchanged] @ layer.experts()[0].T)


def test_balance_is_one_for_equal_use_and_larger_for_a_crowd():
    assert balance_loss(torch.eye(4) * 50, torch.arange(4)[:, None]) == pytest.approx(1)
    crowd = torch.tensor([[50.0, 0, 0, 0]]).expand(4, 4)
    assert balance_loss(crowd, torch.zeros(4, 1, dtype=torch.int64)) == pytest.approx(4)


def test_the_gradient_of_balance_is_added_in_training_and_the_value_stays():
    torch.manual_seed(6)
    inputs_ND, weights_ND = rows(40), rows(40)
    layer = layer_of(experts=4, kept=2, balance=0.3)
    plain = MixtureOfExperts(5, MixtureOptions(experts=4, kept=2, balance=0)).double()
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(inputs_ND), plain(inputs_ND))
    (layer(inputs_ND) * weights_ND).sum().backward()
    logits_NE = plain.options.rate * plain.gate(inputs_ND)
    term = 0.3 * balance_loss(logits_NE, keep_top(logits_NE, 2)[1])
    ((plain(inputs_ND) * weights_ND).sum() + term).backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, dict(plain.named_parameters())[name].grad)
    assert term.grad_fn is not None


def test_the_experts_part_two_planted_clusters():
    """Two groups of inputs, each with a linear map of its own; who goes where is learned."""
    torch.manual_seed(7)
    centres, maps = torch.eye(6)[:2] * 4, torch.randn(2, 6, 6) * 0.5
    group = torch.arange(400) % 2
    inputs_ND = centres[group] + torch.randn(400, 6)
    targets_ND = torch.einsum("nij,nj->ni", maps[group], inputs_ND)
    layer = MixtureOfExperts(6, MixtureOptions(experts=4, kept=2, balance=0.01, rate=1), seed=1)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        (layer(inputs_ND) - targets_ND).square().mean().backward()
        optimizer.step()
    layer.eval()
    with torch.no_grad():
        error = (layer(inputs_ND) - targets_ND).square().mean() / targets_ND.var()
        first = layer.gate(inputs_ND).argmax(1)
    one_map = torch.linalg.lstsq(inputs_ND, targets_ND).solution
    alone = (inputs_ND @ one_map - targets_ND).square().mean() / targets_ND.var()
    purity = sum(torch.bincount(group[first == e], minlength=2).max().item() for e in range(4)) / 400
    assert error < 0.1 * alone
    assert purity > 0.95


def test_saved_and_loaded_it_has_the_same_bits(tmp_path):
    layer = layer_of(experts=3, kept=2, capacity=1.5).float()
    layer.save(tmp_path)
    again = MixtureOfExperts.load(tmp_path)
    assert again.options == layer.options
    inputs_ND = rows(9).float()
    assert torch.equal(again.eval()(inputs_ND), layer.eval()(inputs_ND))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experts": 0}, "experts >= 1"),
        ({"experts": 2, "kept": 3}, r"kept in \[1, experts\] are needed, got experts=2 and kept=3"),
        ({"balance": -1.0}, "balance must be a finite number >= 0"),
        ({"balance": float("nan")}, "balance must be a finite number >= 0"),
        ({"capacity": 0.5}, "capacity must be 0"),
        ({"rate": 0}, "rate must be a finite number > 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MixtureOptions(**options)
