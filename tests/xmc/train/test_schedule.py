"""Invariants: a step is a pure function of its number; each query comes once an epoch; the rate has its shape."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.train import schedule
from xmc.train.options import TrainOptions
from xmc.train.schedule import Pool, batch_rows, learning_rate_share, step_generator, steps_per_epoch


@st.composite
def pools(draw):
    sometimes = draw(st.integers(0, 20))
    return Pool(draw(st.integers(1, 30)), sometimes, draw(st.integers(0, sometimes)))


def epoch_rows(pool, options, epoch):
    steps = steps_per_epoch(pool.queries_per_epoch, options.batch_size)
    return [batch_rows(epoch * steps + position, pool, options) for position in range(steps)]


@given(pools(), st.integers(1, 12), st.integers(0, 5), st.integers(0, 3))
def test_each_query_comes_once_an_epoch_and_drawn_label_texts_are_distinct(pool, batch_size, seed, epoch):
    options = TrainOptions(batch_size=batch_size, seed=seed)
    batches = epoch_rows(pool, options, epoch)
    assert all(len(batch) == batch_size for batch in batches[:-1]) and 1 <= len(batches[-1]) <= batch_size
    rows = np.concatenate(batches).tolist()
    assert len(rows) == len(set(rows)) == pool.queries_per_epoch
    assert [row for row in sorted(rows) if row < pool.always] == list(range(pool.always))
    assert all(row < pool.always + pool.sometimes for row in rows)
    assert sum(row >= pool.always for row in rows) == pool.drawn


def test_a_step_does_not_depend_on_the_steps_before_it():
    pool, options = Pool(50, 20, 5), TrainOptions(batch_size=8, seed=3)
    forward = [batch_rows(step, pool, options).tolist() for step in range(40)]
    schedule._epoch_order.cache_clear()
    backward = [batch_rows(step, pool, options).tolist() for step in reversed(range(40))]
    assert forward == backward[::-1]
    assert step_generator(7, options).random() == step_generator(7, options).random()


def test_epochs_and_seeds_differ():
    pool, options = Pool(50, 20, 5), TrainOptions(batch_size=100, seed=3)
    epochs = [batch_rows(step, pool, options).tolist() for step in range(4)]
    assert len({tuple(rows) for rows in epochs}) == 4
    drawn = {tuple(sorted(row for row in rows if row >= 50)) for rows in epochs}
    assert len(drawn) == 4, "label texts are drawn anew"
    assert batch_rows(0, pool, TrainOptions(batch_size=100, seed=4)).tolist() != epochs[0]
    numbers = {step_generator(step, TrainOptions(seed=seed)).random() for step in range(5) for seed in range(5)}
    assert len(numbers) == 25


@given(st.integers(0, 1000), st.integers(1, 50))
def test_steps_per_epoch_is_a_division_rounded_up(queries, batch_size):
    assert steps_per_epoch(queries, batch_size) == math.ceil(queries / batch_size)


@given(st.integers(1, 200), st.sampled_from(["linear", "cosine", "constant"]), st.floats(0, 0.99), st.integers(0, 10))
def test_the_rate_climbs_to_its_peak_then_falls_and_is_never_zero(total, shape, warmup_share, more):
    options = TrainOptions(schedule=shape, warmup_share=warmup_share)
    shares = [learning_rate_share(step, total, options) for step in range(total)]
    warmup = round(warmup_share * total)
    assert all(0 < share <= 1 for share in shares)
    assert shares[:warmup] == sorted(set(shares[:warmup])), "strictly up"
    assert shares[warmup:] == sorted(shares[warmup:], reverse=True), "never up again"
    if warmup < total:
        assert shares[warmup] == 1.0
    if shape == "constant":
        assert set(shares[warmup:]) <= {1.0}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_the_shapes_by_number(shape, expected):
    options = TrainOptions(schedule=shape, warmup_share=1 / 3)
    assert [learning_rate_share(step, 6, options) for step in range(6)] == pytest.approx(expected)
