"""Invariants: loss and gradients are those of autograd through the whole score matrix, however it is cut into rows;
nothing larger than the allowed rows x labels is ever allocated."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xmc.api import LossInputs, TeacherScores
from xmc.errors import ConfigError, NonFiniteError
from xmc.plugin_manager import load_plugins
from xmc.train.scorer import EFFICIENT_ROWS, PREFERRED_SCORE_BYTES, SCORE_COPIES, Pairs, rows_in_memory, score_batch

QUERIES, LABELS, WIDTH = 7, 23, 5
POOLS = {offer.full_name: offer.spec.pool for offer in load_plugins().offers["loss"]}
CUTS = [(name, rows) for name, pool in POOLS.items() for rows in ((1, 3, 7, 100) if pool == "row" else (7, 100))]


def loss_named(name):
    return load_plugins().find("loss", name).spec.load()()


def problem(dtype, seed=0, queries=QUERIES, labels=LABELS):
    generator = torch.Generator().manual_seed(seed)
    queries_QD = torch.randn(queries, WIDTH, generator=generator, dtype=dtype)
    labels_LD = torch.randn(labels, WIDTH, generator=generator, dtype=dtype)
    relevance_QL = torch.rand(queries, labels, generator=generator) < 0.2
    relevance_QL[min(2, queries - 1)] = False  # a query without positives
    relevance_QL[0] = True  # one without negatives
    rows_P, columns_P = relevance_QL.nonzero(as_tuple=True)
    weights_P = torch.rand(len(rows_P), generator=generator).add(0.5)
    taught_QL = torch.randn(queries, labels, generator=generator, dtype=dtype)
    taught_QL[~relevance_QL & (torch.rand(queries, labels, generator=generator) < 0.7)] = torch.nan
    return queries_QD, labels_LD, Pairs(rows_P, columns_P, weights_P, teacher=TeacherScores.from_dense(taught_QL))


def by_autograd(queries_QD, labels_LD, pairs, loss):
    """The whole matrix, the whole graph."""
    queries_QD, labels_LD = queries_QD.clone().requires_grad_(), labels_LD.clone().requires_grad_()
    inputs = LossInputs(queries_QD @ labels_LD.T, pairs.rows_P, pairs.columns_P, pairs.weights_P)
    losses_Q = loss(replace(inputs, teacher=pairs.teacher))
    losses_Q.mean().backward()
    return losses_Q.detach(), queries_QD.grad, labels_LD.grad


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize(("name", "rows_at_once"), CUTS)
def test_equals_autograd_through_the_whole_matrix(name, rows_at_once, dtype, tolerance):
    queries_QD, labels_LD, pairs = problem(dtype)
    loss = loss_named(name)
    scored = score_batch(queries_QD, labels_LD, pairs, loss, pool=POOLS[name], rows_at_once=rows_at_once)
    losses_Q, queries_gradient_QD, labels_gradient_LD = by_autograd(queries_QD, labels_LD, pairs, loss)
    for got, expected in (
        (scored.losses_Q, losses_Q),
        (scored.queries_gradient_QD, queries_gradient_QD),
        (scored.labels_gradient_CD, labels_gradient_LD),
    ):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
        assert not got.requires_grad


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 7), st.integers(0, 1000))
def test_the_cut_into_rows_does_not_matter(queries, labels, rows_at_once, seed):
    queries_QD, labels_LD, pairs = problem(torch.float64, seed, queries, labels)
    loss = loss_named("dexml.decoupled-softmax")
    one, many = (
        score_batch(queries_QD, labels_LD, pairs, loss, pool="row", rows_at_once=rows)
        for rows in (queries, rows_at_once)
    )
    torch.testing.assert_close(many.losses_Q, one.losses_Q)
    torch.testing.assert_close(many.queries_gradient_QD, one.queries_gradient_QD)
    torch.testing.assert_close(many.labels_gradient_CD, one.labels_gradient_CD)


def test_inputs_are_not_written_into():
    queries_QD, labels_LD, pairs = problem(torch.float32)
    before = [tensor.clone() for tensor in (queries_QD, labels_LD, pairs.rows_P, pairs.columns_P, pairs.weights_P)]
    score_batch(queries_QD, labels_LD, pairs, loss_named("baselines.info-nce"), pool="row", rows_at_once=2)
    after = (queries_QD, labels_LD, pairs.rows_P, pairs.columns_P, pairs.weights_P)
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


class LargestTensor(TorchDispatchMode):
    """Sees every tensor that an operation gives back, and remembers the largest."""

    numbers = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        answer = function(*arguments, **(keywords or {}))
        for leaf in tree_leaves(answer):
            if isinstance(leaf, torch.Tensor):
                self.numbers = max(self.numbers, leaf.numel())
        return answer


@pytest.mark.parametrize("name", [name for name, pool in POOLS.items() if pool == "row"])
@pytest.mark.parametrize("rows_at_once", [1, 4])
def test_no_tensor_is_larger_than_the_rows_at_once_by_the_labels(name, rows_at_once):
    queries_QD, labels_LD, pairs = problem(torch.float32, queries=64, labels=500)
    # not all positives, nor all of the teacher's, else there are more pairs than scores in a chunk
    few, teacher = (pairs.rows_P > 0) & (pairs.columns_P < 10), pairs.teacher
    short = teacher.columns_T < 10
    teacher = TeacherScores(teacher.rows_T[short], teacher.columns_T[short], teacher.scores_T[short])
    pairs = Pairs(pairs.rows_P[few], pairs.columns_P[few], pairs.weights_P[few], teacher=teacher)
    with LargestTensor() as largest:
        score_batch(queries_QD, labels_LD, pairs, loss_named(name), pool="row", rows_at_once=rows_at_once)
    bound = max(rows_at_once * 500, 500 * WIDTH)  # scores, or the labels' gradient
    assert bound / 2 <= largest.numbers <= bound < 64 * 500


def test_the_watch_for_large_tensors_sees_one():
    queries_QD, labels_LD, pairs = problem(torch.float32, queries=64, labels=500)
    with LargestTensor() as largest:
        by_autograd(queries_QD, labels_LD, pairs, loss_named("dexml.decoupled-softmax"))
    assert largest.numbers >= 64 * 500


@given(st.integers(1, 2_000_000), st.integers(1, 4096), st.sampled_from(["cpu", "cuda"]))
def test_rows_in_memory_keeps_the_limit(labels, megabytes, device):
    rows = rows_in_memory(labels, megabytes, device=device)
    row_bytes = labels * 4 * SCORE_COPIES
    assert rows >= 1
    assert rows == 1 or rows * row_bytes <= megabytes * 2**20
    # and does not stay far below it for nothing: one more row would not fit, or is past what is efficient
    assert (rows + 1) * row_bytes > megabytes * 2**20 or (
        device == "cpu" and rows >= EFFICIENT_ROWS and (rows + 1) * labels * 4 > PREFERRED_SCORE_BYTES
    )


class WholeBatch:
    """A loss that needs all rows: the distance of each row's score sum to the batch's mean."""

    def __call__(self, inputs):
        sums_Q = inputs.scores_QC.sum(dim=1)
        return (sums_Q - sums_Q.mean()) ** 2


def test_a_loss_that_pools_the_batch_gets_it_whole():
    queries_QD, labels_LD, pairs = problem(torch.float64)
    scored = score_batch(queries_QD, labels_LD, pairs, WholeBatch(), pool="batch", rows_at_once=QUERIES)
    losses_Q, queries_gradient_QD, labels_gradient_LD = by_autograd(queries_QD, labels_LD, pairs, WholeBatch())
    torch.testing.assert_close(scored.losses_Q, losses_Q)
    torch.testing.assert_close(scored.queries_gradient_QD, queries_gradient_QD)
    torch.testing.assert_close(scored.labels_gradient_CD, labels_gradient_LD)


def test_a_loss_that_pools_the_batch_is_refused_when_it_does_not_fit():
    queries_QD, labels_LD, pairs = problem(torch.float32)
    with pytest.raises(ConfigError, match=r"7 x 23 scores .* score_memory_mb allows 6 rows\. Use a smaller batch_size"):
        score_batch(queries_QD, labels_LD, pairs, WholeBatch(), pool="batch", rows_at_once=6)


def test_a_loss_that_is_not_finite_stops_naming_the_rows():
    queries_QD, labels_LD, pairs = problem(torch.float32)
    queries_QD[[3, 6]] = float("nan")
    for rows_at_once in (2, 100):
        with pytest.raises(NonFiniteError, match=r"not finite for batch rows \[3, 6\] \(2 in all\)"):
            score_batch(queries_QD, labels_LD, pairs, WholeRow(), pool="row", rows_at_once=rows_at_once)


class WholeRow:
    def __call__(self, inputs):
        return inputs.scores_QC.sum(dim=1)


def test_pairs_between_are_those_of_the_rows():
    _, _, pairs = problem(torch.float32)
    for start in range(QUERIES):
        for stop in range(start, QUERIES + 1):
            part = pairs.between(start, stop)
            expected = [
                (row - start, column, weight)
                for row, column, weight in zip(
                    pairs.rows_P.tolist(), pairs.columns_P.tolist(), pairs.weights_P.tolist(), strict=True
                )
                if start <= row < stop
            ]
            got = zip(part.rows_P.tolist(), part.columns_P.tolist(), part.weights_P.tolist(), strict=True)
            assert list(got) == expected


def test_pairs_elsewhere_are_cut_by_the_rows_of_the_host():
    pairs = replace(problem(torch.float32)[2], teacher=None)
    moved = pairs.to(torch.device("meta"))  # which holds no numbers that could be asked for
    for start, stop in ((0, QUERIES), (2, 5), (3, 3)):
        part = moved.between(start, stop)
        expected = pairs.between(start, stop)
        assert part.rows_P.device.type == "meta" and part.rows_P.shape == expected.rows_P.shape
        assert torch.equal(part.host_rows_P, expected.rows_P)
        assert part.between(0, 1).columns_P.shape == expected.between(0, 1).columns_P.shape
