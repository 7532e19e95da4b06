"""Invariants: a step of row Adagrad is its formula, sparse or dense; clipping bounds the norm of the true gradient."""

import math
from types import SimpleNamespace

import pytest
import torch
from train_cases import LetterEncoder

from xmc.encode.sparse_tfidf import SparseTfidfOptions
from xmc.encode.tfidf import TfidfOptions
from xmc.errors import ConfigError, PluginError
from xmc.optimizer_contract import as_saved
from xmc.plugin_manager import load_plugins
from xmc.train.core_optimizers import RowAdagradOptions, Sgd
from xmc.train.muon import Muon
from xmc.train.optimizers import clip_gradients, make_optimizer
from xmc.train.options import TrainOptions
from xmc.train.row_adagrad import RowAdagrad

ROWS, WIDTH = 5, 3


def gradients(seed, steps=4):
    """Per step the rows that have a gradient, and it."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        rows = torch.randperm(ROWS, generator=generator)[: step + 1]
        yield rows, torch.randn(len(rows), WIDTH, generator=generator)


def sparse_rows(rows, values):
    return torch.sparse_coo_tensor(rows[None], values, (ROWS, values.shape[1]), check_invariants=True)


def by_formula(table, steps, rate):
    """Number by number: h_r += mean(g_r^2); row_r -= rate x g_r / sqrt(h_r)."""
    table, sums = [list(row) for row in table.tolist()], [0.0] * ROWS
    for rows, values in steps:
        for row, gradient in zip(rows.tolist(), values.tolist(), strict=True):
            sums[row] += sum(g * g for g in gradient) / WIDTH
            for column, g in enumerate(gradient):
                table[row][column] -= rate * g / (math.sqrt(sums[row]) + 1e-10)
    return torch.tensor(table)


@pytest.mark.parametrize("form", ["sparse", "in two parts", "dense"])
def test_row_adagrad_is_its_formula(form):
    start = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(9))
    table = torch.nn.Parameter(start.clone())
    optimizer = RowAdagrad([table], lr=0.3)
    for rows, values in gradients(1):
        if form == "dense":
            table.grad = torch.zeros(ROWS, WIDTH).index_add(0, rows, values)
        elif form == "sparse":
            table.grad = sparse_rows(rows, values)
        else:  # as after two backward passes: an entry of a row stands twice
            table.grad = sparse_rows(torch.cat([rows, rows]), torch.cat([0.25 * values, 0.75 * values]))
        optimizer.step()
    torch.testing.assert_close(table.detach(), by_formula(start, gradients(1), 0.3), rtol=1e-5, atol=1e-6)


def test_a_row_without_a_gradient_is_left_alone():
    table = torch.nn.Parameter(torch.ones(ROWS, WIDTH))
    table.grad = sparse_rows(torch.tensor([2]), torch.ones(1, WIDTH))
    RowAdagrad([table], lr=0.1).step()
    assert (table[[0, 1, 3, 4]] == 1).all() and (table[2] < 1).all()


def test_labels_own_parameters_have_a_rate_of_their_own():
    encoder = LetterEncoder()
    optimizer = make_optimizer(encoder, TrainOptions(learning_rate=0.2, label_learning_rate=0.02))
    rates = {id(p): group["peak_lr"] for group in optimizer.param_groups for p in group["params"]}
    for role, rate in (("query", 0.2), ("label", 0.02)):
        assert {rates[id(parameter)] for parameter in encoder.module[role].parameters()} == {rate}
    assert len(rates) == len(list(encoder.module.parameters()))
    assert {g["peak_lr"] for g in make_optimizer(encoder, TrainOptions(learning_rate=0.2)).param_groups} == {0.2}
    assert isinstance(optimizer, torch.optim.AdamW) and not encoder.row_gradients
    assert isinstance(make_optimizer(encoder, TrainOptions(), RowAdagradOptions()), RowAdagrad)
    assert encoder.row_gradients


@pytest.mark.parametrize("sparse", [False, True])
def test_clipping_bounds_the_norm_and_keeps_the_direction(sparse):
    dense = torch.nn.Parameter(torch.zeros(2))
    table = torch.nn.Parameter(torch.zeros(ROWS, 1))
    dense.grad = torch.tensor([3.0, 0.0])
    if sparse:  # queries and labels of one table: row 1 stands twice, 1 + 3
        table.grad = sparse_rows(torch.tensor([1, 1]), torch.tensor([[1.0], [3.0]]))
    else:
        table.grad = torch.zeros(ROWS, 1).index_fill(0, torch.tensor([1]), 4.0)
    assert clip_gradients([dense, table, torch.nn.Parameter(torch.zeros(1))], 1.0)
    torch.testing.assert_close(dense.grad, torch.tensor([0.6, 0.0]))
    grad = table.grad.to_dense() if sparse else table.grad
    torch.testing.assert_close(grad.flatten(), torch.tensor([0.0, 0.8, 0.0, 0.0, 0.0]))


@pytest.mark.parametrize("rows", [[1, 3], [3, 1], [1, 1]])
def test_rows_that_stand_in_order_once_are_neither_sorted_nor_copied(rows):
    table, values = torch.nn.Parameter(torch.zeros(ROWS, 1)), torch.tensor([[1.0], [3.0]])
    table.grad = sparse_rows(torch.tensor(rows), values)
    expected = table.grad.to_dense()
    before = table.grad._values().data_ptr()
    assert clip_gradients([table], 0.0)
    assert table.grad.is_coalesced() and torch.equal(table.grad.to_dense(), expected)
    assert (table.grad._values().data_ptr() == before) == (rows == [1, 3])


@pytest.mark.parametrize("limit", [0.0, 5.0, 100.0])
def test_without_a_limit_or_below_it_gradients_stay(limit):
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([parameter], limit)
    assert parameter.grad.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_said(bad):
    fine, broken = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    fine.grad, broken.grad = torch.ones(2), torch.tensor([1.0, bad])
    assert not clip_gradients([fine, broken], 1.0)
    assert clip_gradients([fine], 1.0)


def test_row_adagrad_has_no_weight_decay():
    with pytest.raises(ConfigError, match=r"weight_decay is 0\.1, and the optimizer row-adagrad has none"):
        make_optimizer(LetterEncoder(), TrainOptions(weight_decay=0.1), RowAdagradOptions())


def test_muon_takes_the_matrices_of_layers_and_adamw_the_rest():
    encoder = LetterEncoder()
    optimizer = make_optimizer(encoder, TrainOptions(learning_rate=0.1), Muon(others_rate=0.05))
    shapes = {group["peak_lr"]: {p.dim() for p in group["params"]} for group in optimizer.param_groups}
    assert shapes == {0.1: {2}, 0.05: {1}}
    before = {name: value.clone() for name, value in encoder.module.state_dict().items()}
    encoder.embed(encoder.prepare(["abc", "bcd"], "query"), "query").square().sum().backward()
    optimizer.step()
    moved = {name for name, value in encoder.module.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("query")}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sgd(momentum=1.0), "momentum must lie in"),
        (lambda: Sgd(momentum=0.0, nesterov=True), "nesterov needs a momentum > 0"),
        (lambda: Muon(others_rate=0.0), "others_rate must be a finite number > 0"),
        (lambda: Muon(momentum=-0.1), "momentum must lie in"),
    ],
)
def test_options_that_cannot_work_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("options", [None, RowAdagradOptions(), Sgd(), Muon()])
def test_an_encoder_without_parameters_is_refused_with_what_to_do(options):
    encoder = SparseTfidfOptions(minimum_count=1).build(["fog at sea"], ["fog"], seed=0)
    with pytest.raises(ConfigError, match=r"the encoder 'sparse-tfidf' has nothing .* could change.*--plugin linear"):
        make_optimizer(encoder, TrainOptions(), options)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda context: None, r"build\(\) answers a NoneType, wanted is a torch\.optim\.Optimizer"),
        (lambda context: torch.optim.SGD(context.module.parameters(), lr=0.1), "has no 'peak_lr'.*context\\.groups"),
        (
            lambda context: torch.optim.SGD([{**group, "bound": math.inf} for group in context.groups]),
            "keeps 'bound' as inf in a parameter group",
        ),
        (
            lambda context: torch.optim.SGD([{**group, "seen": {1}} for group in context.groups]),
            "keeps 'seen' as set in a parameter group",
        ),
    ],
)
def test_an_optimiser_that_no_schedule_sets_or_no_checkpoint_holds_is_refused_at_once(build, message):
    with pytest.raises(PluginError, match=message):
        make_optimizer(LetterEncoder(), TrainOptions(), SimpleNamespace(build=build))


@pytest.mark.parametrize(
    ("state", "message"),
    [({0: {"a": math.nan}}, "'a' as nan in the state"), ({"seen": 3}, "entry 'seen', which is no")],
)
def test_a_state_that_json_cannot_hold_is_refused(state, message):
    with pytest.raises(PluginError, match=message):
        as_saved({"state": state, "param_groups": []})


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon", "kfac"])
def test_the_rate_of_labels_is_theirs_under_every_optimiser(name):
    options = load_plugins().find("optimizer", name).spec.load()()
    encoder = TfidfOptions(dimension=4).build(["sea fog rain"] * 3, ["sea fog", "rain"], seed=0)
    (labels,) = encoder.label_parameters()
    for own in (0.007, 0.0):  # 0 is as the others
        made = make_optimizer(encoder, TrainOptions(learning_rate=0.1, label_learning_rate=own), options)
        rate_of = {id(each): group["peak_lr"] for group in made.param_groups for each in group["params"]}
        (others,) = {rate for parameter, rate in rate_of.items() if parameter != id(labels)}
        assert rate_of[id(labels)] == (own or others)
