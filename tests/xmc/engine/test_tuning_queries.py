"""Invariants: queries of dev, else test, else label texts; who chooses does not judge; the others do not matter."""

from dataclasses import replace

import numpy as np

from xmc.data.dataset import load_dataset
from xmc.engine.tuning_queries import FEWEST, tuning_texts

TINY = load_dataset("tiny")


def with_splits(**splits):
    return replace(TINY, splits={"train": TINY.train, **splits})


def test_dev_then_test_then_label_texts():
    few, many = TINY.test.take(np.arange(FEWEST - 1)), TINY.test.take(np.arange(FEWEST))
    assert tuning_texts(with_splits(dev=many, test=TINY.test)).source == "dev queries: 13 choose, 7 others judge"
    assert tuning_texts(with_splits(dev=few, test=TINY.test)).source.startswith("test queries")
    found = tuning_texts(with_splits(dev=few))
    assert found.source == "label texts: 40 choose, 20 others judge" and "real queries may fare worse" in found.notes[0]
    assert set(found.choosing) <= set(TINY.labels.texts)


def test_halves_are_disjoint_and_depend_on_the_seed_and_the_ids_alone():
    data = with_splits(test=TINY.test)
    found = tuning_texts(data)
    assert len(found.choosing) + len(found.judging) == len(TINY.test)
    assert sorted(found.choosing + found.judging) == sorted(TINY.test.texts)
    mixed = with_splits(test=TINY.test.take(np.random.default_rng(0).permutation(len(TINY.test))))
    assert tuning_texts(mixed) == found != tuning_texts(data, seed=1)
    some = tuning_texts(data, most=30)
    assert len(some.choosing) == 20 and some.choosing == found.choosing[:20]


def test_one_label_text_chooses_and_judges():
    one = replace(TINY, splits={"train": TINY.train}, labels=TINY.labels.take(np.array([3])))
    found = tuning_texts(one)
    assert found.choosing == found.judging and len(found.notes) == 2
