"""Invariant: the plan's numbers are what the run then does and holds."""

import json
from dataclasses import replace

import pytest
import torch
from train_cases import LetterEncoder, dual_encoder

from xmc.train.options import TrainOptions
from xmc.train.plan import make_plan
from xmc.train.schedule import Pool


def plan(options, *, labels=1000, pool="row", encoder=None, validation=50, processes=1):
    encoder = encoder or LetterEncoder(dtype=torch.float32)
    head = dual_encoder(encoder, options, loss=None, labels=["fog"])
    return make_plan(
        encoder,
        head,
        options,
        queries=Pool(900, 1000, 101),
        validation=validation,
        labels=labels,
        device="cpu",
        pool=pool,
        processes=processes,
    )


def test_sizes_and_steps():
    made = plan(TrainOptions(epochs=3, batch_size=100))
    assert (made.train_queries, made.label_text_queries, made.validation_queries, made.labels) == (900, 101, 50, 1000)
    assert made.steps == 3 * 11  # 1,001 queries in batches of 100
    assert (made.dimension, made.scored_labels, made.query_rows_at_once) == (4, 1000, 100)
    assert made.threads == torch.get_num_threads()
    json.dumps(made.to_dict(), allow_nan=False)


def test_bytes():
    made = plan(TrainOptions(epochs=3, batch_size=100))
    parameters = 2 * (8 * 6 + 6 + 6 * 4 + 4)
    assert made.parameter_bytes == 4 * parameters
    assert made.label_embedding_bytes == 1000 * 4 * 4
    assert made.score_bytes == 100 * 1000 * 4 * 4
    assert made.peak_bytes == 4 * made.parameter_bytes + 3 * made.label_embedding_bytes + made.score_bytes


def test_sampled_labels_bound_what_is_scored():
    options = TrainOptions(batch_size=100, label_scope="sampled", sampled_labels=200)
    assert plan(options).scored_labels == 700
    assert plan(options, labels=300).scored_labels == 300


@pytest.mark.parametrize(("pool", "rows"), [("row", 32), ("batch", 67)])
def test_memory_bounds_the_rows_scored_at_once(pool, rows):
    made = plan(TrainOptions(batch_size=512, score_memory_mb=1024), labels=1_000_000, pool=pool)
    assert made.query_rows_at_once == rows
    assert made.score_bytes <= 1024 * 2**20


def test_validation_holds_all_labels_whatever_a_step_is_scored_against():
    options = TrainOptions(batch_size=1, label_scope="sampled", sampled_labels=1)
    made, matrix = plan(options, labels=100_000), 100_000 * 4 * 4
    assert made.scored_labels < 100
    assert made.peak_bytes == 3 * made.parameter_bytes + matrix + 50 * 100_000 * 4
    assert plan(options, labels=100_000, validation=0).peak_bytes < matrix, "without validation they are not made"
    several = plan(options, labels=10_000_000, validation=1, processes=2)
    assert several.peak_bytes == 3 * several.parameter_bytes + 3 * 10_000_000 * 4 * 4


def test_mining_holds_all_labels_and_what_the_index_is_made_of():
    options = TrainOptions(batch_size=1, label_scope="mined", sampled_labels=1)
    made, table = plan(options, labels=100_000, validation=0), (900 + 1000) * 50 * 4
    assert made.peak_bytes == 3 * made.parameter_bytes + 2 * 100_000 * 4 * 4 + 2 * table, "the last ones and the next"
    made = plan(replace(options, mining_depth=10_000), labels=100, validation=0)
    assert made.peak_bytes - 2 * 1900 * 100 * 4 < 2 * 100 * 4 * 4 + 4 * made.parameter_bytes, "more there are not"


def test_with_all_labels_a_step_or_validation_is_the_peak():
    """A step holds the vectors three times and few scores of a query; validation once, with scores of many queries."""
    made = plan(TrainOptions(batch_size=100))
    assert made.peak_bytes == 4 * made.parameter_bytes + 3 * made.label_embedding_bytes + made.score_bytes
    made = plan(TrainOptions(batch_size=1), validation=1000)
    assert made.peak_bytes == 3 * made.parameter_bytes + made.label_embedding_bytes + 1000 * 1000 * 4
