"""Invariants: what is drawn was mined for those queries; each epoch has those it should; they survive a restart;
a run that lost them in mid-epoch says so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.api import HeadBatch, Positives
from xmc.errors import ArtifactError
from xmc.train.hard_negatives import HardNegatives, open_negatives, without_relevant
from xmc.train.options import TrainOptions

MINED_NM = np.array([[0, 1, 2], [10, 11, -1], [-1, -1, -1]], dtype=np.int32)


class Miner:
    """Answers MINED_NM + 100 x the number of the call, and counts."""

    calls = 0

    def __call__(self, head, queries):
        self.calls += 1
        return np.where(MINED_NM < 0, -1, MINED_NM + 100 * (self.calls - 1)).astype(np.int32)


def make(folder, **options):
    return HardNegatives(Miner(), TrainOptions(label_scope="mined", **options), open_negatives(folder))


def prepare(negatives, epoch, *, at_start=True):
    negatives.prepare(epoch, None, lambda: iter(()), at_start=at_start)


def test_what_is_drawn_was_mined_for_these_queries(tmp_path):
    negatives = make(tmp_path, mining_start=0, hard_negatives=40)
    prepare(negatives, 0)
    drawn_QH = negatives.draw(0, np.array([0, 1, 2]))
    assert drawn_QH.shape == (3, 40)
    assert [sorted(set(row)) for row in drawn_QH.tolist()] == [[0, 1, 2], [-1, 10, 11], [-1]]
    one = make(tmp_path, mining_start=0, hard_negatives=1)
    prepare(one, 0)
    drawn = {tuple(one.draw(step, np.array([0]))[0]) for step in range(50)}
    assert drawn == {(0,), (1,), (2,)}
    assert np.array_equal(one.draw(7, np.array([0, 1])), one.draw(7, np.array([0, 1])))


def test_mined_on_schedule(tmp_path):
    negatives = make(tmp_path, mining_start=2, mining_epochs=2)
    mined = []
    for epoch in range(7):
        if negatives.is_due(epoch):
            prepare(negatives, epoch)
            assert not negatives.is_due(epoch)
        mined.append(negatives.mine.calls)
    assert mined == [0, 0, 1, 1, 2, 2, 3]


def test_nothing_is_drawn_before_the_first_mining(tmp_path):
    negatives = make(tmp_path, mining_start=1)
    assert not negatives.is_due(0)
    assert negatives.draw(0, np.array([0])).tolist() == [[]]


def test_a_restart_reads_what_was_mined(tmp_path):
    first = make(tmp_path, mining_start=1, mining_epochs=3, hard_negatives=20)
    prepare(first, 1)
    again = make(tmp_path, mining_start=1, mining_epochs=3, hard_negatives=20)
    assert again.is_due(2)
    prepare(again, 2, at_start=False)
    assert again.mine.calls == 0
    assert np.array_equal(again.draw(5, np.arange(3)), first.draw(5, np.arange(3)))


def test_lost_in_mid_epoch(tmp_path):
    with pytest.raises(ArtifactError, match="lacks the negatives mined at epoch 2"):
        prepare(make(tmp_path, mining_start=1), 1, at_start=False)
    prepare(make(tmp_path, mining_start=1), 1)
    with pytest.raises(ArtifactError, match="epoch 3"):
        prepare(make(tmp_path, mining_start=1), 2, at_start=False)


def test_a_head_sees_the_negatives_of_its_queries_each_once():
    queries, positives = np.arange(3), Positives(np.zeros(4, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    assert HeadBatch(0, queries, positives, MINED_NM).hard_negatives.tolist() == [0, 1, 2, 10, 11]
    assert HeadBatch(0, queries, positives, MINED_NM[:, :0]).hard_negatives.tolist() == []
    assert HeadBatch(0, queries, positives).hard_negatives is None


@given(
    st.lists(st.integers(0, 30), unique=True, max_size=12),
    st.sets(st.integers(0, 30), max_size=6),
    st.integers(1, 8),
    st.integers(0, 3),
)
def test_without_relevant_is_the_loop(ranked, relevant, depth, skip):
    kept = [label for label in ranked if label not in relevant][skip:][:depth]
    got = without_relevant(np.array(ranked, dtype=np.int64), np.array(sorted(relevant)), depth=depth, skip=skip)
    assert got.tolist() == kept + [-1] * (depth - len(kept))
