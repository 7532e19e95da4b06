"""Invariants: pairs are those of a loop over the column, sorted, each once; bad columns say so."""

import math

import numpy as np
import pytest
import torch

from xmc.errors import DataError
from xmc.integrations.batch_labels import BatchLabels


def random_column(generator, *, rows, text_columns, width, labels):
    positives = generator.integers(-1, labels, size=(rows, width))
    texts = generator.integers(0, labels, size=(rows, text_columns))
    return np.concatenate([texts, positives], axis=1)


@pytest.mark.parametrize("seed", range(20))
def test_pairs_of_texts_are_those_of_the_loop(seed):
    generator = np.random.default_rng(seed)
    column = random_column(generator, rows=7, text_columns=2, width=4, labels=9)
    batch = BatchLabels.from_column(torch.from_numpy(column), text_columns=2)
    scored_rows, first = batch.scored_texts()
    texts = [*column[:, 0], *column[:, 1]]
    assert scored_rows.tolist() == sorted(set(texts))
    assert [texts.index(row) for row in scored_rows] == first.tolist()
    scores_BC = torch.randn(7, len(scored_rows))
    inputs = batch.loss_inputs(scores_BC, scored_rows)
    expected = [(b, c) for b in range(7) for c, row in enumerate(scored_rows) if row in column[b, 2:]]
    assert list(zip(inputs.positive_rows_P.tolist(), inputs.positive_columns_P.tolist(), strict=True)) == expected
    assert inputs.positive_weights_P.tolist() == [1.0] * len(expected)
    assert inputs.scores_QC is scores_BC and inputs.log_inclusion_C is None


def test_scopes():
    column = torch.tensor([[5, 2, -1], [-1, -1, -1], [5, 5, 0]])
    batch = BatchLabels.from_column(column, text_columns=0, label_count=50)
    generator = np.random.default_rng(0)

    def rows_of(scope):
        return batch.scored_rows(scope, label_count=50, sample=10, generator=generator)

    assert rows_of("batch")[0].tolist() == [0, 2, 5] and rows_of("batch")[1] is None
    assert rows_of("all")[0].tolist() == list(range(50)) and rows_of("all")[1] is None
    rows, log_inclusion_C = rows_of("sampled")
    assert {0, 2, 5} < set(rows.tolist()) and rows.tolist() == sorted(set(rows.tolist()))
    for row, value in zip(rows.tolist(), log_inclusion_C.tolist(), strict=True):
        assert value == pytest.approx(0.0 if row in (0, 2, 5) else math.log(1 - (49 / 50) ** 10), abs=1e-6)
    inputs = batch.loss_inputs(torch.zeros(3, len(rows)), rows, log_inclusion_C)
    assert inputs.positive_rows_P.tolist() == [0, 0, 2, 2]
    assert inputs.log_inclusion_C.tolist() == log_inclusion_C.tolist()


def test_a_vector_is_one_positive_for_each_query():
    assert BatchLabels.from_column(torch.tensor([3, 0]), text_columns=0).positives_BN.tolist() == [[3], [0]]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (None, "no column 'label'"),
        (torch.zeros(2, 3), r"torch.float32 of shape \(2, 3\)"),
        (torch.zeros(2, 3, dtype=torch.bool), "torch.bool"),
        (torch.zeros(2, 3, 1, dtype=torch.long), r"shape \(2, 3, 1\)"),
        (torch.zeros(2, 1, dtype=torch.long), "has 1 value a row, expected more than 1"),
        (torch.zeros(2, dtype=torch.long), "has 1 value a row, expected more than 1"),
        (torch.tensor([[0, -2]]), "from -2 to 0"),
        (torch.tensor([[-1, 3]]), "from -1 to 3"),
        (torch.tensor([[0, 9]]), r"from 0 to 9, label rows are 0\.\.8"),
    ],
)
def test_bad_columns(column, said):
    with pytest.raises(DataError, match=said):
        BatchLabels.from_column(column, text_columns=1, label_count=9)
