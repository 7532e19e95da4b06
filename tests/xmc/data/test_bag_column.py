"""Invariants: bags are written, read, hashed, and kept whole by a dev split and a part of train; queries of a bag have
one label."""

from dataclasses import replace

import numpy as np
import pytest

from xmc.data.dataset import load_dataset, split_off_dev, take_train
from xmc.data.fingerprint import fingerprint_of
from xmc.data.shards import write_table
from xmc.data.tables import QueryTable, label_table_to_arrow, query_table_to_arrow
from xmc.errors import DataError
from xmc.values import Positives

TINY = load_dataset("tiny")


def bagged(bag_ids, weights):
    count = len(bag_ids)
    positives = Positives(np.arange(count + 1), np.zeros(count, np.int32), np.array(weights, np.float32))
    names = [f"q{row}" for row in range(count)]
    return QueryTable(names, names, positives, bag_ids)


def written(folder, queries):
    folder.mkdir(exist_ok=True)
    write_table(folder / "labels.parquet", label_table_to_arrow(TINY.labels))
    write_table(folder / "train.parquet", query_table_to_arrow(queries))
    return folder


def test_bags_are_read_as_written(tmp_path):
    queries = bagged(["b", "a", "b"], [0.5, 1.0, 0.5])
    data = load_dataset(written(tmp_path, queries))
    assert data.train.bag_ids == ["b", "a", "b"]
    assert data.train.take(np.array([2, 1])).bag_ids == ["b", "a"]
    others = replace(queries, bag_ids=["b", "a", "c"]), replace(queries, bag_ids=None)
    prints = {fingerprint_of(data.labels, {"train": each}) for each in (data.train, *others)}
    assert len(prints) == 3 and data.fingerprint in prints


def test_a_label_has_as_many_queries_as_the_shares_of_its_bags_come_to():
    """One of four queries of a bag, three of another four, of rounded shares; without bags each row is one."""
    queries = bagged([*"aaaabbbb", *"ccc"], [0.25] * 4 + [0.75] * 4 + [1 / 3] * 3)
    data = replace(TINY, splits={"train": queries})
    assert data.train_counts().tolist() == [5] + [0] * 59
    assert replace(data, splits={"train": replace(queries, bag_ids=None)}).train_counts()[0] == 11


@pytest.mark.parametrize(
    ("bag_ids", "weights", "said"),
    [
        (["a", "b", "a"], [1, 1, 0.5], "rows 0 and 2 are in bag 'a' and have different positives"),
        (["a", "", "b"], [1, 1, 1], "column 'bag_id' is null or empty in row 1"),
    ],
)
def test_refusals(tmp_path, bag_ids, weights, said):
    with pytest.raises(DataError, match=said):
        load_dataset(written(tmp_path, bagged(bag_ids, weights)))


def test_fewer_training_queries_are_whole_bags_and_nested():
    queries = bagged([f"b{row % 40}" for row in range(200)], [1] * 200)
    data = replace(TINY, splits={"train": queries}, notes=())
    few, more = (take_train(data, count, seed=1).train for count in (53, 120))
    assert len(few) == 50 and len(more) == 120 and set(few.ids) <= set(more.ids)
    for part in (few, more):
        assert len(part) == 5 * len(set(part.bag_ids))  # every bag has 5 queries
    assert take_train(data, 53, seed=1).notes == ("train: 50 of 200 train queries",)
    assert len(take_train(data, 200).train) == 200
    with pytest.raises(DataError, match=r"has more than 4 train queries, and bags stay whole\."):
        take_train(data, 4)


def test_a_dev_split_takes_whole_bags():
    queries = bagged([f"b{row % 40}" for row in range(200)], [1] * 200)
    done = split_off_dev(replace(TINY, splits={"train": queries}), fraction=0.3)
    assert not set(done.train.bag_ids) & set(done.dev.bag_ids)
    assert len(done.train) + len(done.dev) == 200 and 0 < len(done.dev) < 130
