"""Invariants: W stays what it is while V and U change; in single precision it stays near that of double precision,
which it does not without; a step that would overshoot is refused before it does damage."""

import pytest
import torch
from factored_cases import build, dense_step, multiplied_out, random_batch
from repetitions import only_in_full, repetitions

from xmc.api import ConfigError, HeadBatch, Positives
from xmc_zloss import factored_step
from xmc_zloss.factored_matrix import FactoredMatrix, centred_gram
from xmc_zloss.sparse_mse import SparseMse
from xmc_zloss.stabilisation import is_strained, stabilise
from xmc_zloss.z_loss import ZLoss


def with_singular_values(values, labels=300, dtype=torch.float64):
    """A matrix whose U has these singular values."""
    torch.manual_seed(0)
    width = len(values)
    matrix = FactoredMatrix.from_dense(torch.randn(labels, width, dtype=dtype))
    left_DD, _ = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))
    right_DD, _ = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))
    matrix.mixing_DD = left_DD @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right_DD
    matrix.inverse_DD = torch.linalg.inv(matrix.mixing_DD)
    matrix.shift_D = torch.randn(width, dtype=torch.float64)
    renew_statistics(matrix)
    return matrix


def renew_statistics(matrix):
    """Mean and Gram matrix computed from W itself; how far the kept ones were off, relative to their norm."""
    mean_D, gram_DD = centred_gram(matrix.table_LD)
    mean_D = mean_D @ matrix.mixing_DD + matrix.shift_D
    gram_DD = matrix.mixing_DD.T @ gram_DD @ matrix.mixing_DD
    pairs = ((matrix.mean_D, mean_D), (matrix.gram_DD, gram_DD))
    matrix.mean_D, matrix.gram_DD = mean_D, (gram_DD + gram_DD.T) / 2
    return max(float((kept - true).norm() / true.norm()) for kept, true in pairs)


def dense(matrix):
    return matrix.rows(torch.arange(matrix.labels))


@pytest.mark.parametrize(
    ("values", "pulled"),
    [
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 0),
        ([0.51, 1.0, 1.0, 1.0, 1.0, 1.99], 0),
        ([1e-3, 1.0, 1.0, 1.0, 1.0, 30.0], 2),
        ([1e-3, 1e-2, 1.0, 1.0, 20.0, 30.0], 4),
        ([1e-6] * 6, 0),  # a common scale costs no digits
        ([1e-14] * 6, 0),  # and goes into V when U gets too small for floats
        ([1e-20, 1e-18, 1e-14, 1e-14, 1e-14, 1e-14], 2),
    ],
)
def test_pulls_what_is_out_of_range_and_leaves_w_alone(values, pulled):
    matrix = with_singular_values(values)
    before_LD = dense(matrix)
    assert stabilise(matrix) == pulled
    torch.testing.assert_close(dense(matrix), before_LD, rtol=1e-10, atol=1e-12)
    after_D = torch.linalg.svdvals(matrix.mixing_DD)
    assert (after_D >= 0.5 * after_D.median() * 0.999).all() and (after_D <= 2 * after_D.median() * 1.001).all()
    identity_DD = torch.eye(len(values), dtype=torch.float64)
    torch.testing.assert_close(matrix.mixing_DD @ matrix.inverse_DD, identity_DD, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("values", "strained"), [([0.5, 1.0, 2.0], False), ([1e-3, 1.0, 1.0], True)])
def test_strain(values, strained):
    assert is_strained(with_singular_values(values)) is strained
    assert is_strained(with_singular_values([1e-6 * value for value in values])) is strained


def test_what_a_checkpoint_gives_back_lies_in_memory_as_what_was_saved():
    """Else the products after a restart round differently."""
    matrix = with_singular_values([1e-3, 1.0, 1.0, 30.0])
    matrix.inverse_DD = matrix.inverse_DD.contiguous()
    stabilise(matrix)
    assert {name: tensor.stride() for name, tensor in vars(matrix).items()} == {
        name: tensor.stride() for name, tensor in matrix.state().items()
    }


def test_renewed_statistics_are_those_of_w():
    matrix = with_singular_values([0.1, 1.0, 3.0])
    matrix.gram_DD = 1.5 * matrix.gram_DD
    assert renew_statistics(matrix) == pytest.approx(0.5)
    dense_LD = dense(matrix)
    torch.testing.assert_close(matrix.mean_D, dense_LD.mean(dim=0))
    torch.testing.assert_close(matrix.gram_DD, (len(dense_LD) - 1) * dense_LD.T.cov())


def drift(learning_rate, *, stabilise_every, steps, labels=500, width=32, queries=16):
    """Relative error of W in single precision after many steps on the same fifty clusters, against double precision."""
    torch.manual_seed(1)
    centres_CD, targets_C = torch.randn(50, width), torch.randint(0, labels, (50,), dtype=torch.int32)
    start_LD, loss = 0.05 * torch.randn(labels, width), ZLoss(0.1, 10.0)
    single = build(start_LD, loss, learning_rate=learning_rate, stabilise_every=stabilise_every)
    double_LD = start_LD.double()
    for step in range(steps):
        chosen = torch.randint(0, 50, (queries,))
        queries_QD = centres_CD[chosen] + 0.3 * torch.randn(queries, width)
        positives = Positives(torch.arange(queries + 1).numpy(), targets_C[chosen].numpy(), torch.ones(queries).numpy())
        single.learn(queries_QD, HeadBatch(step, chosen.numpy(), positives))
        single.update(1.0)
        double_LD, _, _ = dense_step(double_LD, queries_QD.double(), positives, loss, learning_rate=learning_rate)
    assert (double_LD - start_LD).norm() > 0.05 * start_LD.norm()
    return ((multiplied_out(single) - double_LD).norm() / double_LD.norm()).item(), renew_statistics(single.matrix)


@pytest.mark.slow
@pytest.mark.parametrize("learning_rate", [pytest.param(0.05, marks=only_in_full), 2.0])
def test_single_precision_stays_near_double_precision(learning_rate):
    error, statistics_error = drift(learning_rate, stabilise_every=100, steps=repetitions(200, full=1000))
    assert error < 1e-5
    assert statistics_error < 1e-5


@pytest.mark.slow
def test_without_stabilisation_it_does_not(monkeypatch):
    monkeypatch.setattr(factored_step, "is_strained", lambda matrix: False)
    error, _ = drift(2.0, stabilise_every=10**9, steps=200)
    assert not error < 1e-4


def one_query(labels=50, width=8):
    """Label matrix, query and batch at which a step of the squared error has curvature 1 along the third axis."""
    queries_QD = torch.zeros(2, width)
    queries_QD[0, 3] = 1.0
    return 0.1 * torch.randn(labels, width, generator=torch.Generator().manual_seed(0)), queries_QD


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_step_that_makes_things_worse_is_refused_before_anything_changes(weight_decay):
    start_LD, queries_QD = one_query()
    head = build(start_LD, SparseMse(), learning_rate=5.0, weight_decay=weight_decay)
    batch = random_batch(50, 2, seed=0)
    before = {name: tensor.clone() for name, tensor in head.state().items()}
    head.learn(queries_QD, batch)
    with pytest.raises(ConfigError, match=r"learning rate is 5, .* must stay below") as caught:
        head.update(1.0)
    assert all(torch.equal(head.state()[name], tensor) for name, tensor in before.items())
    limit = float(caught.value.message.rpartition("below ")[2].rstrip("."))
    assert limit == pytest.approx(2 / (1 + 2 * weight_decay), rel=0.005)
    head.learn(queries_QD, batch)
    head.update(0.99 * limit / 5)


@pytest.mark.parametrize("rate", [0.5, 0.9, 1 - 1e-12, 1.0, 1 + 1e-9, 1.5, 1.99])
def test_a_step_to_the_minimum_and_past_it_is_that_of_dense_sgd(rate):
    """At rate 1 the step wipes one direction out, and U with it; single precision must not follow it there."""
    start_LD, queries_QD = one_query()
    head = build(start_LD, SparseMse(), learning_rate=rate)
    batch = random_batch(50, 2, seed=0)
    dense_LD = start_LD.double()
    for _ in range(5):
        head.learn(queries_QD, batch)
        head.update(1.0)
        dense_LD, _, _ = dense_step(dense_LD, queries_QD.double(), batch.positives, SparseMse(), learning_rate=rate)
    assert (multiplied_out(head) - dense_LD).abs().max() < 1e-6
    assert renew_statistics(head.matrix) < 1e-6


def test_weight_decay_that_wipes_everything_out_is_refused():
    head = build(torch.randn(50, 8), ZLoss(), learning_rate=2.0, weight_decay=0.5)
    head.learn(torch.randn(4, 8), random_batch(50, 4, seed=0))
    with pytest.raises(ConfigError, match=r"learning_rate x weight_decay must stay below 1, got 1"):
        head.update(1.0)
