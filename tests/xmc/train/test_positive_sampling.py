"""Invariants: a query keeps what it may, drawn by relevance; those left out count as if they were not there, for every
loss that says so; on average over the draws nothing changes where it must not; 0 changes not a bit."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from train_cases import LetterEncoder, dual_encoder, random_texts

from xmc.api import HeadBatch, LossInputs, Positives
from xmc.errors import ConfigError
from xmc.plugin_manager import load_plugins
from xmc.train.label_scope import all_labels
from xmc.train.options import TrainOptions
from xmc.train.positive_sampling import CLAIM, STREAM, draw_positives, keep_drawn
from xmc.train.schedule import step_generator
from xmc.train.scorer import score_batch

LABELS = 14
LOSSES = {offer.full_name: offer.spec for offer in load_plugins().offers["loss"] if offer.plugin != "foo"}
TAUGHT = {name for name, spec in LOSSES.items() if "teacher" in getattr(spec.load(), "needs", ())}  # see check_loss
LOSSES = {name: spec for name, spec in LOSSES.items() if name not in TAUGHT}
SKIPPING = sorted(name for name, spec in LOSSES.items() if CLAIM in getattr(spec.load(), "claims", ()))
NOT_SKIPPING = sorted(set(LOSSES) - set(SKIPPING))


def loss_named(name):
    return LOSSES[name].load()()


def to_positives(rows):
    """Lists of {label: relevance}, one a query."""
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    labels = np.array([label for row in rows for label in sorted(row)], dtype=np.int32)
    return Positives(offsets, labels, np.array([row[label] for row in rows for label in sorted(row)], dtype=np.float32))


POSITIVES = to_positives([{1: 1, 4: 2, 9: 0.5}, {}, {3: 1}, {0: 1, 2: 1, 5: 3, 6: 1, 13: 2}, {4: 1, 12: 1}])
QUERIES = len(POSITIVES)


def generator(seed=0):
    return np.random.default_rng(seed)


@given(st.lists(st.sets(st.integers(0, 20), max_size=6), min_size=1, max_size=6), st.integers(1, 7), st.integers(0, 99))
def test_each_query_keeps_so_many_or_all_it_has(sets, sample, seed):
    positives = to_positives([dict.fromkeys(labels, 1 + seed) for labels in sets])
    drawn_P = draw_positives(positives, sample=sample, generator=generator(seed))
    counts = np.bincount(positives.query_rows()[drawn_P], minlength=len(sets))
    assert counts.tolist() == [min(sample, len(labels)) for labels in sets]


def test_the_draw_is_that_of_the_generator():
    first, same, other = (draw_positives(POSITIVES, sample=2, generator=generator(seed)) for seed in (1, 1, 3))
    assert (first == same).all() and (first != other).any()


@pytest.mark.parametrize("sample", [1, 2])
def test_the_frequencies_are_those_of_drawing_by_relevance_without_putting_back(sample):
    relevance, runs = {0: 1.0, 2: 1.0, 5: 3.0, 6: 2.0}, 6000
    probability = dict.fromkeys(relevance, 0.0)
    for order in itertools.permutations(relevance, sample):
        left, chance = sum(relevance.values()), 1.0
        for label in order:
            chance, left = chance * relevance[label] / left, left - relevance[label]
        for label in order:
            probability[label] += chance
    positives = to_positives([relevance] * runs)
    drawn_P = draw_positives(positives, sample=sample, generator=generator())
    for label, expected in probability.items():
        share = drawn_P[positives.label_rows == label].mean()
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / runs)


def test_the_drawn_share_the_relevance_of_all_and_the_others_are_skipped():
    drawn_P = np.array([False, True, True, True, False, True, True, False, False, True, True])
    pairs = keep_drawn(all_labels(POSITIVES).pairs, POSITIVES, drawn_P, sample=2)
    assert pairs.rows_P.tolist() == [0, 0, 2, 3, 3, 4, 4]
    assert pairs.columns_P.tolist() == [4, 9, 3, 2, 5, 4, 12]
    assert pairs.weights_P.tolist() == [1.75, 1.75, 1, 4, 4, 1, 1]
    assert [part.tolist() for part in pairs.skipped] == [[0, 3, 3, 3], [1, 0, 6, 13]]
    part = pairs.between(1, 4)
    assert part.rows_P.tolist() == [1, 2, 2] and [each.tolist() for each in part.skipped] == [[2] * 3, [0, 6, 13]]
    whole = all_labels(POSITIVES).pairs
    assert keep_drawn(whole, POSITIVES, np.ones(11, dtype=bool), sample=5) is whole


def scored(name, pairs, seed=0):
    torch.manual_seed(seed)
    queries_QD, labels_LD = torch.randn(QUERIES, 5, dtype=torch.float64), torch.randn(LABELS, 5, dtype=torch.float64)
    pool = LOSSES[name].pool
    return (
        queries_QD,
        labels_LD,
        score_batch(
            queries_QD, labels_LD, pairs, loss_named(name), pool=pool, rows_at_once=2 if pool == "row" else QUERIES
        ),
    )


@pytest.mark.parametrize("sample", [1, 2])
@pytest.mark.parametrize("name", [name for name in SKIPPING if LOSSES[name].pool == "row"])
def test_equals_autograd_with_the_labels_deleted_query_by_query(name, sample):
    drawn_P = draw_positives(POSITIVES, sample=sample, generator=generator())
    pairs = keep_drawn(all_labels(POSITIVES).pairs, POSITIVES, drawn_P, sample=sample)
    queries_QD, labels_LD, answer = scored(name, pairs)
    queries_QD.requires_grad_()
    labels_LD.requires_grad_()
    losses = []
    for query in range(QUERIES):
        gone = pairs.skipped[1][pairs.skipped[0] == query].tolist()
        there = [label for label in range(LABELS) if label not in gone]
        own = pairs.rows_P == query
        relevance_1C = torch.zeros(1, len(there), dtype=torch.float64)
        for label, weight in zip(pairs.columns_P[own].tolist(), pairs.weights_P[own].tolist(), strict=True):
            relevance_1C[0, there.index(label)] = weight
        losses.append(
            loss_named(name)(LossInputs.from_dense(queries_QD[query : query + 1] @ labels_LD[there].T, relevance_1C))
        )
    losses_Q = torch.cat(losses)
    losses_Q.mean().backward()
    torch.testing.assert_close(answer.losses_Q, losses_Q.detach())
    torch.testing.assert_close(answer.queries_gradient_QD, queries_QD.grad)
    torch.testing.assert_close(answer.labels_gradient_CD, labels_LD.grad)


@pytest.mark.parametrize("form", ["pairs", "histogram"])
def test_the_pooled_loss_compares_with_no_skipped_label(form):
    """Against the double loop over the positives and the negatives that are left."""
    drawn_P = draw_positives(POSITIVES, sample=2, generator=generator())
    pairs = keep_drawn(all_labels(POSITIVES).pairs, POSITIVES, drawn_P, sample=2)
    torch.manual_seed(0)
    scores_QL = torch.randn(QUERIES, LABELS, dtype=torch.float64).requires_grad_()
    loss = LOSSES["mw.mann-whitney"].load()(temperature=0.5, form=form, bin_width=1e-3)
    inputs = LossInputs(scores_QL, pairs.rows_P, pairs.columns_P, pairs.weights_P, None, *pairs.skipped)
    (gradient_QL,) = torch.autograd.grad(loss(inputs).mean(), scores_QL)
    known = {*zip(POSITIVES.query_rows().tolist(), POSITIVES.label_rows.tolist(), strict=True)}
    negatives = [scores_QL[q, label] for q in range(QUERIES) for label in range(LABELS) if (q, label) not in known]
    total = sum(
        weight * torch.nn.functional.softplus((torch.stack(negatives) - scores_QL[row, column]) / 0.5).mean()
        for row, column, weight in zip(pairs.rows_P, pairs.columns_P, pairs.weights_P, strict=True)
    )
    truth = total / pairs.weights_P.sum()
    (truth_QL,) = torch.autograd.grad(truth, scores_QL)
    assert loss(inputs).mean().item() == pytest.approx(truth.item(), abs=1e-6)
    torch.testing.assert_close(gradient_QL, truth_QL, rtol=0, atol=1e-3 if form == "histogram" else 1e-7)
    assert (gradient_QL[pairs.skipped] == 0).all()


UNBIASED = ("dexml.decoupled-softmax", "ldr.ldr-kl", "mw.mann-whitney")


def expectation(name):
    """The mean loss of the batch, exactly: every choice of one positive for each query, by its probability."""
    choices = [range(start, stop) or [None] for start, stop in itertools.pairwise(POSITIVES.offsets.tolist())]
    expected = 0.0
    for choice in itertools.product(*choices):
        drawn_P, chance = np.zeros(len(POSITIVES.weights), dtype=bool), 1.0
        for query, entry in enumerate(choice):
            if entry is not None:
                drawn_P[entry] = True
                own = slice(POSITIVES.offsets[query], POSITIVES.offsets[query + 1])
                chance *= POSITIVES.weights[entry] / POSITIVES.weights[own].sum()
        pairs = keep_drawn(all_labels(POSITIVES).pairs, POSITIVES, drawn_P, sample=1)
        expected += chance * scored(name, pairs)[2].losses_Q.mean().item()
    return expected


@pytest.mark.parametrize("name", UNBIASED)
def test_on_average_over_the_draws_of_one_it_is_the_loss_over_all(name):
    whole = scored(name, all_labels(POSITIVES).pairs)[2].losses_Q.mean().item()
    assert expectation(name) == pytest.approx(whole, rel=1e-6)


def test_where_positives_compete_it_is_another_loss_and_a_lower_one():
    whole = scored("baselines.info-nce", all_labels(POSITIVES).pairs)[2].losses_Q.mean().item()
    assert expectation("baselines.info-nce") < whole - 0.02


OPTIONS = TrainOptions(batch_size=QUERIES, sampled_positives=1, seed=3)


def head_of(options, name="dexml.decoupled-softmax"):
    encoder = LetterEncoder()
    return dual_encoder(encoder, options, loss=loss_named(name), pool=LOSSES[name].pool, labels=random_texts(LABELS, 2))


def learn(options, step, name="dexml.decoupled-softmax"):
    queries_QD = torch.randn(QUERIES, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return head_of(options, name).learn(queries_QD, HeadBatch(step, np.arange(QUERIES), POSITIVES))


@pytest.mark.parametrize("scope", ["all", "sampled", "mined"])
def test_a_head_draws_anew_at_each_step_from_a_stream_of_its_own(scope):
    options = replace(OPTIONS, label_scope=scope, sampled_labels=4)
    head = head_of(options)
    seen, mined_QH = set(), np.array([[2, 8], [8, -1], [2, 2], [-1, -1], [8, 2]])
    for step in range(30):
        batch = HeadBatch(step, np.arange(QUERIES), POSITIVES, mined_QH if scope == "mined" else None)
        chosen, full = head._scope(batch), head_of(replace(options, sampled_positives=0))._scope(batch)
        assert (chosen.label_rows is None) == (scope == "all")
        assert chosen.label_rows is None or chosen.label_rows.tolist() == full.label_rows.tolist()
        draw = step_generator(step, options, stream=STREAM)
        drawn = torch.from_numpy(draw_positives(POSITIVES, sample=1, generator=draw))
        assert chosen.pairs.columns_P.tolist() == full.pairs.columns_P[drawn].tolist()
        assert chosen.pairs.skipped[1].tolist() == full.pairs.columns_P[~drawn].tolist()
        seen.add(tuple(drawn.tolist()))
    assert len(seen) > 15
    assert torch.equal(learn(options, 5).losses_Q, learn(options, 5).losses_Q)


def test_0_or_more_than_there_are_changes_not_a_bit():
    plain, many = (learn(replace(OPTIONS, sampled_positives=sample), 2) for sample in (0, 5))
    assert torch.equal(plain.losses_Q, many.losses_Q)
    assert torch.equal(plain.queries_gradient_QD, many.queries_gradient_QD)
    assert not torch.equal(plain.losses_Q, learn(OPTIONS, 2).losses_Q)


def test_which_losses_skip_is_as_documented():
    assert {name.partition(".")[0] for name in NOT_SKIPPING} <= {"zloss", "aggregate", "loss_foo"}
    assert len(SKIPPING) >= 7


@pytest.mark.parametrize("name", NOT_SKIPPING)
def test_a_loss_that_does_not_say_that_it_skips_is_refused_at_once(name):
    with pytest.raises(ConfigError, match=r"sampled_positives leaves out .* Set sampled_positives = 0, or choose"):
        head_of(OPTIONS, name)
    head_of(replace(OPTIONS, sampled_positives=0), name)
