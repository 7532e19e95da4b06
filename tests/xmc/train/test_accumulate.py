"""Invariants: a step of several batches has the gradient of the mean over all their queries; over all labels it is that
of one large batch, whose query embeddings are made in chunks like those of the labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from distributed_cases import DEXML, LABELS, OPTIONS, POOLED, QUERIES, ROW_STATE, make_positives
from train_cases import LetterEncoder, head_context, random_texts

from xmc.api import HeadBatch, LossInputs
from xmc.train.classifier import ClassifierOptions
from xmc.train.dual_encoder import DualEncoderOptions
from xmc.train.gradient_cache import embed_with_gradient
from xmc.train.schedule import Pool, batch_rows, step_generator, step_queries, steps_per_epoch

STEP = 1
MINED_NH = np.arange(2 * QUERIES).reshape(QUERIES, 2) % (LABELS + 1) - 1  # -1 where fewer were mined
TEXTS, LABEL_TEXTS = random_texts(QUERIES, 1), random_texts(LABELS, 2)


def step_gradients(options, *, loss=DEXML, pool="row", head_options=None, encoder=None):
    """The losses of one step, and its gradients of every parameter."""
    encoder = encoder or LetterEncoder(dtype=torch.float64)
    context = head_context(encoder, options, loss=loss, pool=pool, labels=LABEL_TEXTS)
    head = (head_options or DualEncoderOptions()).build(context)
    rows = batch_rows(STEP, Pool(QUERIES), options)
    features = encoder.prepare(TEXTS, "query").take(rows)
    queries = embed_with_gradient(encoder, features, "query", chunk_size=options.label_chunk)
    mined_QH = MINED_NH[rows] if options.label_scope == "mined" else None
    learned = head.learn(queries.embeddings_ND, HeadBatch(STEP, rows, make_positives().take(rows), mined_QH))
    queries.backward(learned.queries_gradient_QD)
    gradients = [parameter.grad for parameter in encoder.module.parameters()]
    gradients += [parameter.grad.to_dense() for parameter in head.parameters()]
    return learned.losses_Q, gradients


def by_formula(options, *, loss=DEXML):
    """Batch by batch with dense relevance and autograd, then the mean over all queries of the step."""
    encoder, positives = LetterEncoder(dtype=torch.float64), make_positives()
    queries, labels = encoder.prepare(TEXTS, "query"), encoder.prepare(LABEL_TEXTS, "label")
    rows = batch_rows(STEP, Pool(QUERIES), options)
    losses = []
    for number, start in enumerate(range(0, len(rows), options.batch_size)):
        part = rows[start : start + options.batch_size]
        relevance_QL = torch.zeros(len(part), LABELS, dtype=torch.float64)
        for position, row in enumerate(part):
            for entry in range(positives.offsets[row], positives.offsets[row + 1]):
                relevance_QL[position, positives.label_rows[entry]] = float(positives.weights[entry])
        columns = list(range(LABELS))
        if options.label_scope != "all":
            generator = step_generator(STEP * options.accumulate + number, options)
            drawn = generator.integers(0, LABELS, size=options.sampled_labels)
            mined = set(MINED_NH[part].flatten().tolist()) - {-1} if options.label_scope == "mined" else ()
            columns = sorted({*drawn.tolist(), *relevance_QL.sum(dim=0).nonzero().flatten().tolist(), *mined})
        scores_QC = encoder.embed(queries.take(part), "query") @ encoder.embed(labels, "label")[columns].T
        losses.append(loss(LossInputs.from_dense(scores_QC, relevance_QL[:, columns])))
    losses_Q = torch.cat(losses)
    losses_Q.mean().backward()
    return losses_Q.detach(), [parameter.grad for parameter in encoder.module.parameters()]


def check_same(got, expected, tolerance=1e-12):
    torch.testing.assert_close(got[0], expected[0], rtol=tolerance, atol=tolerance)
    assert len(got[1]) == len(expected[1])
    for one, other in zip(got[1], expected[1], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("chunk", [1, 3, 256])
@pytest.mark.parametrize("loss", [DEXML, ROW_STATE], ids=["dexml", "with a state"])
def test_over_all_labels_small_batches_are_one_large_batch(loss, chunk):
    large = replace(OPTIONS, batch_size=12, label_chunk=chunk)
    small = replace(OPTIONS, batch_size=4, accumulate=3, label_chunk=256)
    assert step_queries(large) == step_queries(small) == 12
    check_same(step_gradients(large, loss=loss), step_gradients(small, loss=loss))


@pytest.mark.parametrize(
    ("loss", "pool", "scope"),
    [
        (DEXML, "row", "all"),
        (DEXML, "row", "sampled"),
        (DEXML, "row", "mined"),
        (POOLED, "batch", "all"),
        (POOLED, "batch", "sampled"),
    ],
)
@pytest.mark.parametrize(("batch_size", "accumulate"), [(7, 1), (5, 2), (3, 5), (1, 12)])
def test_a_step_is_its_formula(loss, pool, scope, batch_size, accumulate):
    options = replace(OPTIONS, batch_size=batch_size, accumulate=accumulate, label_scope=scope)
    check_same(step_gradients(options, loss=loss, pool=pool), by_formula(options, loss=loss))


def test_pools_of_their_own_are_not_one_large_pool():
    large, small = replace(OPTIONS, batch_size=12), replace(OPTIONS, batch_size=4, accumulate=3)
    one, other = (step_gradients(options, loss=POOLED, pool="batch")[1] for options in (large, small))
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("text", [True, False])
def test_a_classifier_adds_up_its_sparse_gradients(text):
    options = replace(OPTIONS, label_scope="sampled", batch_size=3, accumulate=4)
    head, sizes = ClassifierOptions(text=text), (3, 3, 2)  # the second step has the last 8 of 20 queries
    make_encoder = lambda: LetterEncoder(dtype=torch.float32)  # noqa: E731
    _, gradients = step_gradients(options, head_options=head, encoder=make_encoder())
    parts = [step_gradients_of_part(options, part, head, make_encoder()) for part in range(3)]
    for number, gradient in enumerate(gradients):
        if gradient is not None:
            expected = sum(part[number] * size for part, size in zip(parts, sizes, strict=True)) / 8
            torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


def step_gradients_of_part(options, number, head_options, encoder):
    """One batch of the step by itself."""
    alone = replace(options, accumulate=1)
    context = head_context(encoder, alone, loss=DEXML, labels=LABEL_TEXTS)
    head = head_options.build(context)
    rows = batch_rows(STEP, Pool(QUERIES), options)[number * 3 : number * 3 + 3]
    queries = embed_with_gradient(encoder, encoder.prepare(TEXTS, "query").take(rows), "query", chunk_size=256)
    batch = HeadBatch(STEP * options.accumulate + number, rows, make_positives().take(rows))
    learned = head.learn(queries.embeddings_ND, batch)
    queries.backward(learned.queries_gradient_QD)
    return [p.grad for p in encoder.module.parameters()] + [p.grad.to_dense() for p in head.parameters()]


def test_steps_of_an_epoch():
    options = replace(OPTIONS, batch_size=4, accumulate=3)
    assert steps_per_epoch(QUERIES, step_queries(options)) == 2
    seen = [row for step in range(2) for row in batch_rows(step, Pool(QUERIES), options).tolist()]
    assert sorted(seen) == list(range(QUERIES))
