"""What every head must keep to; a plugin's whole test may be `check_head(MyHead())`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xmc.api import FittedHead, Head, HeadOptions, Loss, LossInputs
from xmc.testing.conformance import expect, keep_to, plain_options
from xmc.testing.global_state import left_alone
from xmc.testing.head_cases import (
    LABELS,
    QUERIES,
    HeadCase,
    Training,
    query_embeddings,
    scores_of,
    vectors_of,
)

STEPS, ENCODER_RATE = 40, 0.5
NUDGE = 1e-2


def check_head(options: HeadOptions, *, loss: Loss | None = None, encoder: Any = None) -> None:
    """Check the contract of a head, by training it.

    Its options are plain; vectors are those of the rows asked for; losses and gradients are those of the scores that an
    index will give; labels learn at `update` and no earlier; a saved state goes on bit for bit; torch's random
    generator, default dtype, gradient mode and threads are left alone.

    It trains on a few made-up texts, against all labels, with a cross entropy over a small `static` encoder; `loss`
    and `encoder` (the options of one) are for heads that want others. A head that is fitted in one go (it has `fit`)
    is fitted, and must score the labels of the training queries above the others.

    Raises: ConformanceError naming the head, the promise and the numbers.

    >>> from xmc.train.classifier import ClassifierOptions
    >>> check_head(ClassifierOptions())
    """
    case = HeadCase.of(options, loss, encoder)
    for check in FITTED if hasattr(options, "fit") else STEPWISE:
        keep_to(check, case, subject=options)


def _options_are_plain(case: HeadCase) -> None:
    plain_options(case.options, section="head")


def _the_rest_is_left_alone(case: HeadCase) -> None:
    """Nothing that belongs to the whole program is another once a head has learned, was read and was saved."""
    encoder = case.encoder()
    with left_alone(case.options):
        training = Training(case, encoder)
        training.step()
        _used(case, training.head, encoder)


def _used(case: HeadCase, head: FittedHead, encoder: Any) -> None:
    scores_of(head, query_embeddings(encoder))
    case.options.build(case.context(encoder, trains=False)).load_state(_saved(case, head))


def _building_answers_a_head(case: HeadCase) -> None:
    head = Training(case).head
    expect(isinstance(head, Head), case.options, "build() answers a Head, with all its methods", got=head)
    again = Training(case).head
    same = torch.equal(vectors_of(head), vectors_of(again))
    expect(same, case.options, "built again under the same seed it has the same vectors")


def _vectors_are_those_of_the_rows(case: HeadCase) -> None:
    training = Training(case)
    training.step()
    _rows_are_kept_to(case, training.head)


def _rows_are_kept_to(case: HeadCase, head: FittedHead) -> None:
    vectors_LE = vectors_of(head)
    expect(len(vectors_LE) == len(LABELS), case.options, "a vector for each label", got=len(vectors_LE))
    expect(torch.isfinite(vectors_LE).all(), case.options, "vectors are finite", vectors=vectors_LE)
    rows = [4, 0, 7, 2]
    some_NE = vectors_of(head, rows)
    expect(torch.equal(some_NE, vectors_LE[rows]), case.options, "label_vectors() answers the rows asked, in order")
    wanted = query_embeddings(case.encoder()).shape[1]
    mapped = head.query_map()
    width = wanted if mapped is None else mapped.matrix_ED.shape[0]
    expect(vectors_LE.shape[1] == width, case.options, "vectors are as wide as the index's queries", width=width)


def _learning_answers_losses_and_gradients(case: HeadCase) -> None:
    training = Training(case)
    queries_QD = training.queries()
    before_QD = queries_QD.clone()
    learned = training.learn(queries_QD)
    shape = tuple(learned.losses_Q.shape)
    expect(shape == (len(QUERIES),), case.options, "learn() answers a loss for each query", shape=shape)
    expect(torch.isfinite(learned.losses_Q).all(), case.options, "losses are finite", losses=learned.losses_Q)
    gradient_QD = learned.queries_gradient_QD
    expect(gradient_QD.shape == queries_QD.shape, case.options, "a gradient as wide as the embeddings")
    expect(torch.isfinite(gradient_QD).all(), case.options, "gradients are finite", gradient=gradient_QD)
    expect(torch.equal(queries_QD, before_QD), case.options, "the embeddings are not written into")


def _losses_are_those_of_the_searched_scores(case: HeadCase) -> None:
    """What is trained is what an index of the vectors will rank by."""
    training = Training(case)
    for _ in range(2):
        scores_QL = scores_of(training.head, training.queries())
        wanted_Q = case.loss(LossInputs.from_dense(scores_QL, case.relevance_QL)).detach()
        losses_Q = training.step()
        near = torch.allclose(losses_Q, wanted_Q.to(losses_Q.dtype), rtol=1e-3, atol=1e-4)
        expect(near, case.options, "losses are those of the scores an index gives", learned=losses_Q, searched=wanted_Q)


def _the_gradient_is_that_of_the_mean_loss(case: HeadCase) -> None:
    training = Training(case)
    queries_QD = training.queries()
    gradient_QD = training.learn(queries_QD).queries_gradient_QD.double()
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        nudge_QD = torch.randn(queries_QD.shape, generator=generator)
        nudge_QD *= NUDGE / nudge_QD.norm()
        ahead, behind = (
            float(Training(case).learn(queries_QD + sign * nudge_QD).losses_Q.double().mean()) for sign in (1, -1)
        )
        slope, told = (ahead - behind) / 2, float((gradient_QD * nudge_QD).sum())
        near = abs(slope - told) <= 1e-2 * NUDGE * float(gradient_QD.norm()) + 2e-6
        expect(near, case.options, "the gradient is that of the mean loss", told=told / NUDGE, measured=slope / NUDGE)


def _labels_wait_for_the_update(case: HeadCase) -> None:
    moved = []
    for share in (0.0, 0.5, 1.0):
        training = Training(case)
        before_LE = vectors_of(training.head)
        training.learn()
        expect(torch.equal(vectors_of(training.head), before_LE), case.options, "learn() alone changes no vector")
        training.head.update(share)
        moved.append(float((vectors_of(training.head) - before_LE).abs().max()))
    none, half, whole = moved
    expect(none <= 1e-6, case.options, "a learning rate share of 0 moves nothing", moved=none)
    heeded = half < whole or whole <= 1e-6  # the labels of an encoder wait for its optimiser
    expect(heeded, case.options, "a smaller learning rate share moves vectors less", half=half, whole=whole)


def _the_loss_falls(case: HeadCase) -> None:
    training = Training(case)
    losses = [float(training.step(encoder_rate=ENCODER_RATE).mean()) for _ in range(STEPS)]
    promise = f"the loss falls in {STEPS} steps (is its rate too high for a batch of {len(QUERIES):,}?)"
    expect(losses[-1] < losses[0], case.options, promise, first=losses[0], last=losses[-1])


def _a_resumed_head_goes_on(case: HeadCase) -> None:
    for steps in (1, 3):
        training, other = Training(case), Training(case)
        for _ in range(steps):
            training.step()
        other.head.load_state(_saved(case, training.head))
        other.steps = training.steps
        for _ in range(3):
            one_Q, two_Q = training.step(), other.step()
            promise = "saved and loaded it goes on bit for bit"
            expect(torch.equal(one_Q, two_Q), case.options, promise, saved_after=steps, goes_on=one_Q, resumed=two_Q)


def _a_trained_head_is_read(case: HeadCase) -> None:
    training = Training(case)
    for _ in range(3):
        training.step()
    _is_read(case, training.head, training.encoder)


def _is_read(case: HeadCase, head: FittedHead, encoder: Any) -> None:
    """Without a loss, options of training and what only training needs, as `xmc search` reads it."""
    kept = {name: value for name, value in _saved(case, head).items() if not name.startswith("optimiser.")}
    read = case.options.build(case.context(encoder, trains=False))
    read.load_state(kept)
    promise = "read without what training needs it has the same vectors"
    expect(torch.equal(vectors_of(read), vectors_of(head)), case.options, promise)
    queries_QD = query_embeddings(encoder)
    same = torch.equal(scores_of(read, queries_QD), scores_of(head, queries_QD))
    expect(same, case.options, "read without what training needs it has the same query map")


def _saved(case: HeadCase, head: FittedHead) -> dict[str, Tensor]:
    """The state as a file gives it back: copies, of tensors only."""
    state = head.state()
    wrong = [name for name, value in state.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    expect(not wrong, case.options, "state() is tensors by name", wrong=wrong)
    return {name: value.detach().clone().contiguous() for name, value in state.items()}


def _fitted(case: HeadCase, encoder: Any = None) -> tuple[FittedHead, Any, list[tuple[int, int]]]:
    encoder, told = encoder or case.encoder(), list[tuple[int, int]]()
    features = encoder.prepare(QUERIES, "query")
    fit = case.options.fit  # type: ignore[attr-defined]
    head = fit(case.context(encoder), features, case.positives, progress=lambda done, all_: told.append((done, all_)))
    return head, encoder, told


def _fitting_leaves_the_rest_alone(case: HeadCase) -> None:
    encoder = case.encoder()
    with left_alone(case.options):
        _used(case, _fitted(case, encoder)[0], encoder)


def _fitting_answers_a_head(case: HeadCase) -> None:
    head, _, told = _fitted(case)
    expect(isinstance(head, FittedHead), case.options, "fit() answers a FittedHead, with all its methods", got=head)
    _rows_are_kept_to(case, head)
    ordered = all(0 <= done <= all_ for done, all_ in told) and told == sorted(told)
    expect(ordered, case.options, "progress never falls, nor passes its end", told=told)
    same = torch.equal(vectors_of(head), vectors_of(_fitted(case)[0]))
    expect(same, case.options, "fitted again under the same seed it has the same vectors")


def _positives_come_first(case: HeadCase) -> None:
    head, encoder, _ = _fitted(case)
    scores_QL = scores_of(head, query_embeddings(encoder))
    relevant_QL = case.relevance_QL > 0
    positive, negative = (float(scores_QL[mask].mean()) for mask in (relevant_QL, ~relevant_QL))
    promise = "relevant labels of training queries score above the others"
    expect(positive > negative, case.options, promise, relevant=positive, others=negative)


def _a_fitted_head_is_read(case: HeadCase) -> None:
    head, encoder, _ = _fitted(case)
    _is_read(case, head, encoder)


STEPWISE: tuple[Callable[[HeadCase], None], ...] = (
    _options_are_plain,
    _the_rest_is_left_alone,  # before it could hide from the others
    _building_answers_a_head,
    _vectors_are_those_of_the_rows,
    _learning_answers_losses_and_gradients,
    _losses_are_those_of_the_searched_scores,
    _the_gradient_is_that_of_the_mean_loss,
    _labels_wait_for_the_update,
    _the_loss_falls,
    _a_resumed_head_goes_on,
    _a_trained_head_is_read,
)
FITTED: tuple[Callable[[HeadCase], None], ...] = (
    _options_are_plain,
    _fitting_leaves_the_rest_alone,
    _fitting_answers_a_head,
    _positives_come_first,
    _a_fitted_head_is_read,
)
