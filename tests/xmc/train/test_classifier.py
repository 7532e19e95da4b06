"""Invariants: a classifier learns as autograd and a plain loop say, with and without text, over all or some labels;
its state comes back; a step over some labels leaves the rows of the others alone."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from train_cases import LetterEncoder, head_context, random_texts

from xmc.api import HeadBatch, LossInputs, Positives
from xmc.encode.encoder import embed_texts
from xmc.errors import ConfigError
from xmc.plugin_manager import load_plugins
from xmc.train.classifier import ClassifierOptions
from xmc.train.distributed import Ranks
from xmc.train.options import TrainOptions
from xmc.train.row_adagrad import EPSILON
from xmc_kfac.options import KFacOptions

LABELS, QUERIES = 9, 5
TEXTS = random_texts(LABELS, 2)
DEXML = load_plugins().find("loss", "dexml.decoupled-softmax").spec.load()(temperature=0.5)
ALL, SAMPLED = TrainOptions(label_scope="all"), TrainOptions(label_scope="sampled", sampled_labels=2, label_chunk=2)


def make(options, train=ALL, *, cosine=False):
    encoder = LetterEncoder(dtype=torch.float32)
    encoder.similarity = "cosine" if cosine else "dot"
    return encoder, options.build(head_context(encoder, train, loss=DEXML, labels=TEXTS))


def batch(step=0):
    offsets = np.array([0, 2, 3, 3, 4, 6], dtype=np.int64)
    label_rows = np.array([1, 4, 2, 4, 0, 1], dtype=np.int32)
    return HeadBatch(step, np.arange(QUERIES), Positives(offsets, label_rows, np.ones(6, np.float32)))


def queries(seed=0):
    return torch.randn(QUERIES, 4, generator=torch.Generator().manual_seed(seed))


def naive_vectors(encoder, matrix_LD, *, text, cosine):
    vectors_LD = matrix_LD + encoder.embed(encoder.prepare(TEXTS, "label"), "label") if text else matrix_LD
    return vectors_LD / vectors_LD.norm(dim=1, keepdim=True) if cosine else vectors_LD


@pytest.mark.parametrize(
    ("text", "cosine", "train"), list(itertools.product((True, False), (True, False), (ALL, SAMPLED)))
)
def test_a_step_is_that_of_autograd(text, cosine, train):
    encoder, head = make(ClassifierOptions(text=text, learning_rate=0.1), train, cosine=cosine)
    matrix_LD = head.source.matrix_LD.detach().clone().requires_grad_()
    queries_QD = queries().requires_grad_()
    scope = head._scope(batch())
    label_rows = np.arange(LABELS) if scope.label_rows is None else scope.label_rows
    scores_QC = queries_QD @ naive_vectors(encoder, matrix_LD, text=text, cosine=cosine)[label_rows].T
    pairs = scope.pairs
    losses_Q = DEXML(
        LossInputs(scores_QC, pairs.rows_P, pairs.columns_P, pairs.weights_P, log_inclusion_C=scope.log_inclusion_C)
    )
    losses_Q.mean().backward()
    wanted = {name: value.grad.clone() for name, value in encoder.module.named_parameters() if value.grad is not None}
    encoder.module.zero_grad()

    learned = head.learn(queries_QD.detach(), batch())
    torch.testing.assert_close(learned.losses_Q, losses_Q.detach())
    torch.testing.assert_close(learned.queries_gradient_QD, queries_QD.grad)
    assert bool(wanted) == text
    for name, gradient in wanted.items():
        torch.testing.assert_close(encoder.module.get_parameter(name).grad, gradient)
    before_LD = head.source.matrix_LD.detach().clone()
    head.update(0.5)
    step_LD = matrix_LD.grad / (matrix_LD.grad.square().mean(dim=1, keepdim=True).sqrt() + EPSILON)
    torch.testing.assert_close(head.source.matrix_LD.detach(), before_LD - 0.5 * 0.1 * step_LD)


def test_a_step_over_some_labels_touches_only_their_rows():
    _, head = make(ClassifierOptions(text=False), SAMPLED)
    touched = set(head._scope(batch()).label_rows.tolist())
    before_LD = head.source.matrix_LD.detach().clone()
    head.learn(queries(), batch())
    assert head.source.matrix_LD.grad.is_sparse
    head.update(1.0)
    changed = (head.source.matrix_LD.detach() != before_LD).any(dim=1)
    assert 0 < len(touched) < LABELS
    assert set(changed.nonzero().flatten().tolist()) == touched
    assert set(head.state()["optimiser.row_sum"].nonzero().flatten().tolist()) == touched


@pytest.mark.parametrize("train", [ALL, SAMPLED])
def test_an_optimizer_of_label_matrices_turns_the_gradient_before_the_step(train):
    context = head_context(LetterEncoder(dtype=torch.float32), train, loss=DEXML, labels=TEXTS)
    kfac, options = KFacOptions(label_damping=0.5), ClassifierOptions(text=False, learning_rate=0.1)
    plain, turning = (options.build(replace(context, optimizer=optimizer)) for optimizer in (None, kfac))
    moment = kfac.label_preconditioner(dimension=4, device="cpu")
    moment.observe(queries())
    for head in (plain, turning):
        head.learn(queries(), batch())
    gradient_LD = moment.apply(plain.source.matrix_LD.grad.to_dense())
    before_LD = turning.source.matrix_LD.detach().clone()
    turning.update(0.5)
    step_LD = gradient_LD / (gradient_LD.square().mean(dim=1, keepdim=True).sqrt() + EPSILON)
    torch.testing.assert_close(turning.source.matrix_LD.detach(), before_LD - 0.05 * step_LD)


@pytest.mark.parametrize("text", [True, False])
def test_state_comes_back_and_training_goes_on_alike(text):
    _, head = make(ClassifierOptions(text=text))
    head.learn(queries(), batch())
    head.update(1.0)
    _, again = make(ClassifierOptions(text=text))
    again.load_state({name: value.clone() for name, value in head.state().items()})
    for each in (head, again):
        each.learn(queries(1), batch(1))
        each.update(1.0)
    assert torch.equal(head.source.matrix_LD, again.source.matrix_LD)


@pytest.mark.parametrize(("text", "cosine"), list(itertools.product((True, False), (True, False))))
def test_label_vectors_are_those_of_the_given_rows(text, cosine):
    encoder, head = make(ClassifierOptions(text=text), cosine=cosine)
    with torch.no_grad():
        head.source.matrix_LD += torch.randn(LABELS, 4)
        expected_LD = naive_vectors(encoder, head.source.matrix_LD, text=text, cosine=cosine)
    rows = np.array([3, 3, 0, 8])
    torch.testing.assert_close(torch.cat(list(head.label_vectors(rows))), expected_LD[rows])
    assert head.query_map() is None


def test_with_text_it_starts_as_the_dual_encoder():
    encoder, head = make(ClassifierOptions())
    expected_LD = embed_texts(encoder, TEXTS, "label")
    torch.testing.assert_close(torch.cat(list(head.label_vectors(np.arange(LABELS)))), expected_LD)


@pytest.mark.parametrize("options", [{"learning_rate": 0.0}, {"scale": float("inf")}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ClassifierOptions(**options)


def test_an_optimizer_of_the_label_matrix_is_refused_on_several_processes():
    context = head_context(LetterEncoder(), ALL, loss=DEXML, labels=TEXTS)
    context = replace(context, ranks=Ranks(0, 2), optimizer=KFacOptions())
    with pytest.raises(ConfigError, match=r"\(KFacOptions\) works in one process, got 2.*without torchrun"):
        ClassifierOptions().build(context)
    ClassifierOptions().build(replace(context, ranks=None))
