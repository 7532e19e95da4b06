"""Invariants: every epoch has every bag once and whole; a step is a function of its number."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xmc.train.bags import Bags
from xmc.train.options import TrainOptions
from xmc.train.schedule import Pool, batch_rows, epoch_rows


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40), st.integers(1, 20), st.integers(0, 3))
def test_every_epoch_has_every_bag_once_and_whole(bag_ids, batch_size, epoch):
    bags, options = Bags(bag_ids), TrainOptions(batch_size=max(batch_size, max(map(bag_ids.count, bag_ids))))
    pool = Pool(len(bag_ids), bags=bags)
    steps = pool.steps(options.batch_size)
    batches = [batch_rows(epoch * steps + position, pool, options) for position in range(steps)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(bag_ids)))
    assert np.concatenate(batches).tolist() == epoch_rows(epoch, pool, options).tolist()
    for rows in batches:
        assert 0 < len(rows) <= options.batch_size
        for bag in set(bags.numbers_Q[rows]):
            assert (bags.numbers_Q[rows] == bag).sum() == (bags.numbers_Q == bag).sum()


def test_epochs_differ_and_repeat_themselves():
    pool, options = Pool(60, bags=Bags([f"{row // 3}" for row in range(60)])), TrainOptions(batch_size=9)
    first, second = (epoch_rows(epoch, pool, options).tolist() for epoch in (0, 1))
    assert first != second and first == epoch_rows(0, pool, options).tolist()
    assert pool.steps(9) == 7 and len(batch_rows(0, pool, options)) == 9 and len(batch_rows(6, pool, options)) == 6
