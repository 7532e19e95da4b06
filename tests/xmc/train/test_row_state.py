"""Invariants: a query's number follows its row through shuffled batches, parts of a batch, checkpoints and resumes; a
step that fails changes none; the trained model has none."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from train_cases import LetterEncoder, dual_encoder, head_context, random_texts

from xmc.api import HeadBatch, NonFiniteError, PluginError, Positives, RowStateLoss
from xmc.plugin_manager import load_plugins
from xmc.train.classifier import ClassifierOptions
from xmc.train.options import TrainOptions
from xmc.train.row_state import STATE_NAME, RowState

LABELS = 9
ALDR = load_plugins().find("loss", "ldr.aldr-kl").spec.load()(lambda_=0.5, margin=0.1)


@dataclass(frozen=True)
class CountsVisits:
    """Keeps the number of visits of each query; its value is that number."""

    row_state_start: float = 0.0
    breaks_at: float = 99.0

    def next_row_state(self, inputs):
        return inputs.row_state_Q + 1

    def __call__(self, inputs):
        losses_Q = inputs.row_state_Q + 0 * inputs.scores_QC.sum(dim=1)
        return losses_Q.masked_fill(losses_Q >= self.breaks_at, torch.nan)


@dataclass(frozen=True)
class KeepsLengths(CountsVisits):
    needs: ClassVar = {"norms"}

    def next_row_state(self, inputs):
        return inputs.query_norms_Q


def batch(step, rows):
    offsets = np.arange(len(rows) + 1, dtype=np.int64)
    label_rows = np.array(rows, dtype=np.int32) % LABELS
    return HeadBatch(step, np.array(rows), Positives(offsets, label_rows, np.ones(len(rows), dtype=np.float32)))


def queries(rows, seed=0):
    """The same embedding for a row in whatever batch."""
    table = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return table[rows]


def head_of(loss, **options):
    return dual_encoder(LetterEncoder(), TrainOptions(**options), loss=loss, labels=random_texts(LABELS, 2))


def test_a_loss_sees_the_number_of_each_query_by_its_row():
    head = head_of(CountsVisits())
    for step, (rows, expected) in enumerate((([4, 2], [1, 1]), ([2, 7, 0], [2, 1, 1]), ([0, 4, 2], [2, 2, 3]))):
        assert head.learn(queries(rows), batch(step, rows)).losses_Q.tolist() == expected
        head.update(1.0)
    assert head.state()[STATE_NAME].tolist() == [2, 0, 3, 0, 2, 0, 0, 1]


def test_the_next_number_may_depend_on_lengths():
    head = head_of(KeepsLengths())
    head.learn(queries([2, 0]), batch(0, [2, 0]))
    head.update(1.0)
    assert head.state()[STATE_NAME].tolist() == pytest.approx([queries(0).norm().item(), 0.0, queries(2).norm().item()])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda state_Q: state_Q.mean(), r"one number per query is wanted, .* got one of shape \(\)"),
        (lambda state_Q: state_Q[:, None], r"got one of shape \(2, 1\)"),
        (lambda state_Q: 0.5, r"got builtins\.float"),
        (lambda state_Q: None, r"got builtins\.NoneType"),
    ],
)
def test_what_is_not_one_number_per_query_is_refused(answer, message):
    class Answers(CountsVisits):
        def next_row_state(self, inputs):
            return answer(inputs.row_state_Q)

    with pytest.raises(PluginError, match=f"loss Answers, next_row_state: .*{message}"):
        head_of(Answers()).learn(queries([4, 2]), batch(0, [4, 2]))


def test_numbers_are_kept_without_what_they_were_made_of():
    class Graph(CountsVisits):
        def next_row_state(self, inputs):
            return inputs.row_state_Q + torch.ones(1, requires_grad=True)

    head = head_of(Graph())
    head.learn(queries([1]), batch(0, [1]))
    head.update(1.0)
    assert head.state()[STATE_NAME].tolist() == [0, 1] and not head.state()[STATE_NAME].requires_grad


def test_a_step_that_is_not_taken_changes_nothing():
    head = head_of(CountsVisits(breaks_at=2))
    head.learn(queries([1, 3]), batch(0, [1, 3]))
    assert head.state()[STATE_NAME].tolist() == [0] * 4, "not before the update"
    head.update(1.0)
    head.update(1.0)
    with pytest.raises(NonFiniteError):
        head.learn(queries([3, 2]), batch(1, [3, 2]))
    assert head.state()[STATE_NAME].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("rows_at_once", [1, 2, 7])
def test_parts_of_a_batch_change_nothing(rows_at_once, monkeypatch):
    monkeypatch.setattr("xmc.train.scored_head.rows_in_memory", lambda *arguments, **more: rows_at_once)
    head, rows = head_of(ALDR), [3, 1, 0, 2, 5, 4, 6]
    losses_Q = head.learn(queries(rows), batch(0, rows)).losses_Q
    head.update(1.0)
    monkeypatch.undo()
    whole = head_of(ALDR)
    torch.testing.assert_close(losses_Q, whole.learn(queries(rows), batch(0, rows)).losses_Q)
    whole.update(1.0)
    torch.testing.assert_close(head.state()[STATE_NAME], whole.state()[STATE_NAME])
    assert whole.state()[STATE_NAME].unique().numel() == 7


def test_visits_of_the_same_scores_go_to_the_fixed_point():
    head, rows = head_of(ALDR), [0, 1, 2]
    for step in range(60):
        head.learn(queries(rows), batch(step, rows))
        before = head.state()[STATE_NAME].clone()
        head.update(1.0)
    torch.testing.assert_close(head.state()[STATE_NAME], before, rtol=1e-6, atol=0)
    assert ((before >= 0.25) & (before < 0.5)).all()


@pytest.mark.parametrize("classifier", [False, True])
def test_it_goes_on_from_a_saved_state_with_the_same_bits(classifier):
    def make():
        encoder, options = LetterEncoder(dtype=torch.float32), TrainOptions()
        context = head_context(encoder, options, loss=ALDR, labels=random_texts(LABELS, 2))
        return ClassifierOptions(text=False).build(context) if classifier else head_of(ALDR)

    steps = [([0, 1, 2], 0), ([5, 1], 1), ([2, 5, 0], 2), ([1, 4], 3)]

    def go(head, part):
        for rows, step in part:
            head.learn(queries(rows).float() if classifier else queries(rows), batch(step, rows))
            head.update(1.0)
        return head

    kept = {name: value.clone() for name, value in go(make(), steps[:2]).state().items()}
    again = make()
    again.load_state(kept)
    resumed, straight = go(again, steps[2:]).state(), go(make(), steps).state()
    assert resumed.keys() == straight.keys() and STATE_NAME in straight
    assert all(torch.equal(resumed[name], value) for name, value in straight.items())


def test_it_is_for_training_only_and_other_losses_have_none():
    assert STATE_NAME.startswith("optimiser.")
    assert head_of(load_plugins().find("loss", "ldr.ldr-kl").spec.load()()).state() == {}


def test_an_empty_batch_and_rows_far_out():
    state = RowState(CountsVisits(row_state_start=3.0))
    assert isinstance(CountsVisits(), RowStateLoss)
    assert state.before(np.zeros(0, dtype=np.int64)).tolist() == [] and len(state.state()[STATE_NAME]) == 0
    assert state.before(np.array([1000])).tolist() == [3.0]
