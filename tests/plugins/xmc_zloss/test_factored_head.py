"""Invariants: equals dense SGD over all labels, step by step; no operation of a step is of the size of the labels;
search over V with U h is search over W with h; state goes round; what it cannot do is refused."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from factored_cases import LOSSES, build, dense_step, multiplied_out, random_batch
from safetensors.torch import load, save
from torch.utils._python_dispatch import TorchDispatchMode

from xmc.api import ArtifactError, ConfigError, Head, HeadContext, HeadOptions, LossInputs, NonFiniteError, PluginError
from xmc.train.options import TrainOptions
from xmc_dexml.decoupled_softmax import DecoupledSoftmax
from xmc_index_exact.exact import Exact
from xmc_zloss.factored_head import FactoredHead
from xmc_zloss.z_loss import ZLoss

LABELS, WIDTH, QUERIES = 500, 12, 7


def random_matrix(labels=LABELS, width=WIDTH, *, dtype=torch.float64, seed=0):
    return 0.1 * torch.randn(labels, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


def random_queries(queries=QUERIES, width=WIDTH, *, seed=0):
    return torch.randn(queries, width, generator=torch.Generator().manual_seed(1000 + seed))


def train(head, steps, *, first=0, labels=LABELS, width=WIDTH):
    for step in range(first, first + steps):
        head.learn(random_queries(width=width, seed=step), random_batch(labels, QUERIES, seed=step))
        head.update(1.0)


def test_is_a_head():
    assert isinstance(FactoredHead(), HeadOptions)
    assert isinstance(build(random_matrix(), ZLoss()), Head)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_equals_dense_sgd(loss, weight_decay):
    rate = LOSSES[loss]
    head = build(random_matrix(), loss, learning_rate=rate, weight_decay=weight_decay, stabilise_every=7)
    dense_LD = random_matrix()
    for step in range(60):
        queries_QD, batch = random_queries(seed=step).double(), random_batch(LABELS, QUERIES, seed=step)
        share = 1.0 - step / 100
        learned = head.learn(queries_QD, batch)
        head.update(share)
        dense_LD, losses_Q, gradient_QD = dense_step(
            dense_LD, queries_QD, batch.positives, loss, learning_rate=rate * share, weight_decay=weight_decay
        )
        torch.testing.assert_close(learned.losses_Q, losses_Q, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(learned.queries_gradient_QD, gradient_QD, rtol=1e-10, atol=1e-13)
    moved = (dense_LD - random_matrix()).abs().max()
    assert moved > 1e-3
    assert (multiplied_out(head) - dense_LD).abs().max() <= 1e-12
    assert (head.matrix.mean_D - dense_LD.mean(dim=0)).abs().max() <= 1e-12
    centred_LD = dense_LD - dense_LD.mean(dim=0)
    assert (head.matrix.gram_DD - centred_LD.T @ centred_LD).abs().max() <= 1e-11


def test_a_batch_without_any_positive_teaches_only_weight_decay():
    head = build(random_matrix(), ZLoss(), weight_decay=0.5)
    batch = random_batch(LABELS, 1, seed=0)  # the last query has none
    assert len(batch.positives.label_rows) == 0
    learned = head.learn(random_queries(1), batch)
    head.update(1.0)
    assert learned.losses_Q.tolist() == [0.0] and (learned.queries_gradient_QD == 0).all()
    torch.testing.assert_close(multiplied_out(head), 0.95 * random_matrix(), rtol=1e-12, atol=1e-14)


def test_the_gradient_of_the_z_loss_is_orthogonal_to_the_queries():
    """Scaling a query changes no z, so its gradient along itself is 0 (Euler)."""
    head = build(random_matrix(), ZLoss(0.3, 4.0))
    queries_QD = random_queries().double()
    gradient_QD = head.learn(queries_QD, random_batch(LABELS, QUERIES, seed=0)).queries_gradient_QD
    assert gradient_QD.abs().max() > 0.1
    assert (gradient_QD * queries_QD).sum(dim=1).abs().max() < 1e-14


def test_the_gradient_of_the_z_loss_leaves_the_sum_of_the_scores_alone():
    """A shift of all labels by the same vector changes no z: the mean of the rows never moves."""
    head = build(random_matrix(), ZLoss(0.3, 4.0))
    train(head, 20)
    assert (multiplied_out(head).mean(dim=0) - random_matrix().mean(dim=0)).abs().max() < 1e-14


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_learns(loss):
    head = build(random_matrix(200, 32, dtype=torch.float32), loss, learning_rate=5 * LOSSES[loss])
    queries_QD, batch = random_queries(20, 32), random_batch(200, 20, seed=0)
    losses = []
    for _ in range(50):
        losses.append(head.learn(queries_QD, batch).losses_Q.mean().item())
        head.update(1.0)
    assert losses[-1] < 0.8 * losses[0]


class Sizes(TorchDispatchMode):
    """Collects the operations that read or write a tensor with `labels` or more in any dimension."""

    def __init__(self, labels):
        super().__init__()
        self.labels, self.seen, self.operations = labels, set(), 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        tensors = [each for each in torch.utils._pytree.tree_leaves((args, kwargs, result)) if torch.is_tensor(each)]
        self.operations += 1
        if any(max(each.shape, default=0) >= self.labels and not each.is_meta for each in tensors):
            self.seen.add(str(operation))
        return result


def test_no_operation_of_a_step_is_of_the_size_of_the_labels():
    labels = 10_007
    head = build(random_matrix(labels), ZLoss(0.3, 4.0), weight_decay=0.01, stabilise_every=1)
    queries_QD, batch = random_queries(), random_batch(labels, QUERIES, seed=0)
    with Sizes(labels) as sizes:
        head.learn(queries_QD, batch)
        head.update(1.0)
    assert sizes.operations > 50
    assert sizes.seen == {"aten.index.Tensor", "aten.index_copy_.default"}  # some rows are read, some are written


def test_the_check_above_notices_an_operation_on_all_labels():
    with Sizes(10_007) as sizes:
        multiplied_out(build(random_matrix(10_007), ZLoss()))
    assert "aten.mm.default" in sizes.seen or "aten.split.Tensor" in sizes.seen


def test_search_over_v_is_search_over_w():
    head = build(random_matrix(dtype=torch.float32), ZLoss(0.3, 4.0), learning_rate=5.0)
    train(head, 50)
    every_row = np.arange(LABELS)
    index = Exact().build(head.label_vectors(every_row), similarity="dot", device="cpu")
    queries_QD, mapping = random_queries(5, seed=99), head.query_map()
    hits = index.search(mapping.queries(queries_QD), 10)
    scores_QL = queries_QD.double() @ multiplied_out(head).T
    best = scores_QL.topk(10, dim=1)
    assert not torch.equal(mapping.matrix_ED, torch.eye(WIDTH, dtype=torch.float64))
    for query, (label_rows, scores) in enumerate(hits):
        assert label_rows.tolist() == best.indices[query].tolist()
        offset = mapping.offsets(queries_QD)[query].item()
        assert scores + offset == pytest.approx(best.values[query].numpy(), rel=1e-4, abs=1e-5)


def test_label_vectors_come_in_the_order_asked_for():
    head = build(random_matrix(), ZLoss())
    rows = np.array([7, 3, 3, 499])
    assert torch.equal(torch.cat(list(head.label_vectors(rows))), random_matrix()[[7, 3, 3, 499]])


def test_a_head_read_from_its_state_goes_on_with_the_same_bits():
    head = build(random_matrix(dtype=torch.float32), ZLoss(0.3, 4.0), stabilise_every=8)
    train(head, 20)
    state = load(save(head.state()))
    train(head, 20, first=20)
    again = build(random_matrix(dtype=torch.float32, seed=5), ZLoss(0.3, 4.0), stabilise_every=8)
    again.load_state(state)
    train(again, 20, first=20)
    for name, tensor in head.state().items():
        assert torch.equal(again.state()[name], tensor), name


def test_a_head_for_reading_waits_for_its_state():
    head = FactoredHead().build(HeadContext(LABELS, WIDTH, "dot"))
    with pytest.raises(ArtifactError, match="no state yet"):
        head.query_map()
    head.load_state(build(random_matrix(), ZLoss()).state())
    assert torch.equal(multiplied_out(head), random_matrix())


@pytest.mark.parametrize("name", ["table_LD", "mixing_DD", "steps"])
def test_a_state_of_another_shape_is_refused(name):
    head = build(random_matrix(), ZLoss())
    for state in (
        {**head.state(), name: torch.zeros(3, 3)},
        {key: tensor for key, tensor in head.state().items() if key != name},
    ):
        with pytest.raises(ArtifactError, match=f"{name} must be"):
            head.load_state(state)


def test_a_fresh_head_is_random_by_its_seed():
    context = HeadContext(1000, 16, "dot", seed=1, loss=ZLoss())
    first, same = FactoredHead(0.1).build(context), FactoredHead(0.1).build(context)
    other = FactoredHead(0.1, start_scale=2.0).build(dataclasses.replace(context, seed=2))
    assert torch.equal(multiplied_out(first), multiplied_out(same))
    assert multiplied_out(first).std().item() == pytest.approx(1 / math.sqrt(16), rel=0.05)
    assert multiplied_out(other).std().item() == pytest.approx(2 / math.sqrt(16), rel=0.05)


def test_a_loss_that_needs_the_scores_is_refused():
    with pytest.raises(ConfigError, match=r"DecoupledSoftmax needs more .* It works with zloss.z-loss, zloss.taylor"):
        FactoredHead(0.1).build(HeadContext(LABELS, WIDTH, "dot", loss=DecoupledSoftmax()))


class Keeps(ZLoss):
    row_state_start = 0.0

    def next_row_state(self, inputs: LossInputs):
        return inputs.row_state_Q + 1


class Learned(ZLoss):
    def __post_init__(self):
        object.__setattr__(self, "own", torch.nn.Parameter(torch.ones(())))


def test_a_loss_that_keeps_a_number_or_has_a_parameter_is_refused():
    with pytest.raises(ConfigError, match="the loss Keeps keeps a number for each query"):
        FactoredHead(0.1).build(HeadContext(LABELS, WIDTH, "dot", loss=Keeps()))
    with pytest.raises(PluginError, match=r"loss Learned: 'own' wants a gradient"):
        build(random_matrix(), Learned()).learn(random_queries(), random_batch(LABELS, QUERIES, seed=0))


class Liar:
    needs = frozenset({"moments"})

    def __call__(self, inputs: LossInputs):
        return inputs.scores_QC.logsumexp(dim=1)


class NotFinite:
    needs = frozenset({"moments"})

    def __call__(self, inputs: LossInputs):
        _, mean_Q, _ = inputs.moments()
        return torch.where(torch.arange(len(mean_Q)) == 3, torch.inf, mean_Q)


def test_a_loss_that_looks_at_the_scores_all_the_same_is_found_out():
    head = build(random_matrix(), Liar())
    with pytest.raises(ConfigError, match="looked at the scores all the same"):
        head.learn(random_queries(), random_batch(LABELS, QUERIES, seed=0))


def test_a_loss_that_is_not_finite_names_the_rows():
    head = build(random_matrix(), NotFinite())
    with pytest.raises(NonFiniteError, match=r"batch rows \[3\] \(1 in all\)"):
        head.learn(random_queries(), random_batch(LABELS, QUERIES, seed=0))


class Steep:
    needs = frozenset({"moments"})

    def __call__(self, inputs: LossInputs):
        _, mean_Q, variance_Q = inputs.moments()
        return (variance_Q * 0 * mean_Q).sqrt()


def test_a_gradient_that_is_not_finite_is_refused():
    head = build(random_matrix(), Steep())
    with pytest.raises(NonFiniteError, match="gradient of the loss is not finite"):
        head.learn(random_queries(), random_batch(LABELS, QUERIES, seed=0))


def test_sampled_labels_and_positives_are_refused():
    context = HeadContext(LABELS, WIDTH, "dot", loss=ZLoss(), train=TrainOptions(label_scope="sampled"))
    with pytest.raises(ConfigError, match=r"learns from all labels, got .* 'sampled'"):
        FactoredHead().build(context)
    context = dataclasses.replace(context, train=TrainOptions(sampled_positives=1))
    with pytest.raises(ConfigError, match=r"learns from all positives of a query, got \[train\] sampled_positives 1"):
        FactoredHead().build(context)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adam"}, "optimizer must be 'sgd': .* momentum or Adam would touch every label"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0"),
        ({"weight_decay": math.inf}, "weight_decay must be a finite number >= 0"),
        ({"stabilise_every": 0}, "stabilise_every must be >= 1"),
        ({"start_scale": 0.0}, "start_scale must be a finite number > 0"),
    ],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FactoredHead(**options)
