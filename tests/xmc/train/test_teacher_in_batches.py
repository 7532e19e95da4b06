"""Invariants: over all labels and over some, in one batch and accumulated, a step with a teacher is that of autograd;
the embeddings' lengths have their gradient; frozen labels stay as they are."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from train_cases import LetterEncoder, head_context, random_texts

from xmc.api import ConfigError, Head, HeadBatch, Hits, LossInputs, Positives, TeacherScores
from xmc.train.classifier import ClassifierOptions
from xmc.train.frozen_labels import FrozenLabelsOptions
from xmc.train.options import TrainOptions
from xmc_distill.normalised_distillation import NormalisedDistillation

LABELS, QUERIES, WIDTH = 9, 5, 4
TEXTS = random_texts(LABELS, 2)
LOSS = NormalisedDistillation(temperature=0.5, softening=2.0, direction=0.7)
ALL = TrainOptions(label_scope="all")
SAMPLED = TrainOptions(label_scope="sampled", sampled_labels=2, label_chunk=2)
POSITIVES = Positives(
    np.array([0, 2, 3, 3, 4, 6]), np.array([1, 4, 2, 4, 0, 1], dtype=np.int32), np.ones(6, np.float32)
)
TEACHER = Hits(
    np.array([0, 3, 5, 6, 6, 9]),
    np.array([1, 4, 8, 2, 3, 0, 0, 1, 7]),
    np.linspace(-1, 1, 9, dtype=np.float32),
)
GIVEN = torch.randn(LABELS, WIDTH, generator=torch.Generator().manual_seed(3))


def encoder_of(similarity="dot"):
    encoder = LetterEncoder(dtype=torch.float32)
    encoder.similarity = similarity
    return encoder


def frozen(train=ALL, *, similarity="dot", vectors=GIVEN, labels=TEXTS):
    context = head_context(encoder_of(similarity), train, loss=LOSS, labels=labels)
    return FrozenLabelsOptions().build(replace(context, teacher_vectors=vectors))


def batch(step=0):
    return HeadBatch(step, np.arange(QUERIES), POSITIVES, teacher=TEACHER)


def queries(seed=0):
    return torch.randn(QUERIES, WIDTH, generator=torch.Generator().manual_seed(seed))


def teacher_in(label_rows):
    dense = torch.full((QUERIES, LABELS), torch.nan)
    for query, (rows, scores) in enumerate(TEACHER):
        dense[query, torch.from_numpy(rows)] = torch.from_numpy(scores)
    return TeacherScores.from_dense(dense[:, torch.from_numpy(label_rows)])


@pytest.mark.parametrize(("train", "lengths"), list(itertools.product((ALL, SAMPLED), (True, False))))
def test_a_step_is_that_of_autograd(train, lengths):
    context = head_context(encoder_of("dot" if lengths else "cosine"), train, loss=LOSS, labels=TEXTS)
    head = ClassifierOptions(text=False, scale=1.0).build(context)
    matrix_LD = head.source.matrix_LD.detach().clone().requires_grad_()
    vectors_LD = matrix_LD if lengths else matrix_LD / matrix_LD.norm(dim=1, keepdim=True)
    queries_QD = queries().requires_grad_()
    scope = head._scope(batch())
    label_rows = np.arange(LABELS) if scope.label_rows is None else scope.label_rows
    assert set(TEACHER.label_rows) <= set(label_rows)
    pairs, chosen_CD = scope.pairs, vectors_LD[label_rows]
    inputs = LossInputs(queries_QD @ chosen_CD.T, pairs.rows_P, pairs.columns_P, pairs.weights_P, scope.log_inclusion_C)
    inputs = replace(inputs, teacher=teacher_in(label_rows))
    if lengths:
        norms = {"query_norms_Q": queries_QD.norm(dim=1), "label_norms_C": chosen_CD.norm(dim=1).detach()}
        inputs = replace(inputs, **norms)
    losses_Q = LOSS(inputs)
    losses_Q.mean().backward()
    learned = head.learn(queries(), batch())
    torch.testing.assert_close(learned.losses_Q, losses_Q.detach())
    torch.testing.assert_close(learned.queries_gradient_QD, queries_QD.grad)
    torch.testing.assert_close(head.source.matrix_LD.grad.to_dense(), matrix_LD.grad, rtol=1e-4, atol=1e-6)


def test_a_step_of_two_batches_takes_each_query_its_own_shortlist():
    whole, parts = frozen(), frozen(replace(ALL, batch_size=3, accumulate=2))
    one, two = whole.learn(queries(), batch()), parts.learn(queries(), batch())
    torch.testing.assert_close(one.losses_Q, two.losses_Q)
    torch.testing.assert_close(one.queries_gradient_QD, two.queries_gradient_QD)


def test_without_length_the_gradient_is_finite():
    learned = frozen().learn(torch.zeros(QUERIES, WIDTH), batch())
    assert learned.queries_gradient_QD.isfinite().all()


@pytest.mark.parametrize("train", [ALL, SAMPLED])
def test_frozen_labels_stay_as_they_are_and_come_back(train):
    head = frozen(train)
    assert isinstance(head, Head) and head.parameters() == []
    before = GIVEN.clone()
    for step in range(3):
        assert float(head.learn(queries(step), batch(step)).queries_gradient_QD.abs().max()) > 0
        head.update(1.0)
    order = np.array([8, 0, 3])
    assert torch.equal(head.source.vectors(order).embeddings_ND, before[order])
    assert torch.equal(torch.cat(list(head.label_vectors(np.arange(LABELS)))), before)
    context = replace(head_context(encoder_of(), None, loss=None, labels=TEXTS))
    opened = FrozenLabelsOptions().build(context)
    opened.load_state(head.state())
    assert torch.equal(torch.cat(list(opened.label_vectors(order))), before[order])


def test_vectors_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="head 'frozen' takes the label vectors of a teacher") as refused:
        frozen(vectors=None)
    assert "xmc teach" in refused.value.hint
    with pytest.raises(ConfigError, match="have 3 dimensions, the encoder's embeddings 4") as refused:
        frozen(vectors=GIVEN[:, :3])
    assert refused.value.hint == "Set encoder.dimension=3."
    with pytest.raises(ConfigError, match="do not have length 1"):
        frozen(similarity="cosine")
    unit = GIVEN / GIVEN.norm(dim=1, keepdim=True)
    assert torch.equal(next(frozen(similarity="cosine", vectors=unit).label_vectors(np.arange(LABELS))), unit)
