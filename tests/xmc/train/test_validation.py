"""Invariant: P@1 is that of a loop over queries and labels, ties to the lowest row, whatever is scored at once; the
labels' vectors are never there twice."""

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from xmc.api import PluginError, Positives, QueryMap
from xmc.train.validation import hits_at_1, label_matrix


def tensor_of(rows):
    return torch.tensor(rows, dtype=torch.float32)


class Given:
    """An encoder whose features are the embeddings."""

    dimension = 2

    def __init__(self):
        self.module = nn.Module()

    def embed(self, features, role):
        return torch.tensor(features, dtype=torch.float32)


class Rows(list):
    def take(self, rows):
        return Rows(self[row] for row in rows)


vectors = st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=8).map(Rows)


@given(vectors, vectors, st.integers(1, 4), st.data())
def test_equals_the_loop(queries, labels, rows_at_once, data):
    relevant = [data.draw(st.sets(st.integers(0, len(labels) - 1), max_size=3)) for _ in queries]
    offsets = np.concatenate(([0], np.cumsum([len(each) for each in relevant]))).astype(np.int64)
    flat = np.array([label for each in relevant for label in sorted(each)], dtype=np.int32)
    positives = Positives(offsets, flat, np.ones(len(flat), np.float32))
    hits = 0
    for (a, b), wanted in zip(queries, relevant, strict=True):
        scores = [a * c + b * d for c, d in labels]
        hits += scores.index(max(scores)) in wanted
    got = hits_at_1(Given(), queries, tensor_of(labels), positives, rows_at_once=rows_at_once)
    assert got == hits
    swapped = QueryMap(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.zeros(2))
    mapped = hits_at_1(
        Given(), queries, tensor_of(labels).flip(1), positives, query_map=swapped, rows_at_once=rows_at_once
    )
    assert mapped == got


def test_the_encoder_is_in_evaluation_mode_meanwhile_and_back_in_its_own_afterwards():
    seen = []

    class Watching(Given):
        def embed(self, features, role):
            seen.append((role, self.module.training, torch.is_grad_enabled()))
            return super().embed(features, role)

    encoder = Watching()
    encoder.module.train()
    positives = Positives(np.array([0, 1]), np.array([0], np.int32), np.ones(1, np.float32))
    hits_at_1(encoder, Rows([(1, 0)]), tensor_of([(1, 0)]), positives, rows_at_once=1)
    assert seen == [("query", False, False)] and encoder.module.training


class InChunks:
    """A head that gives the rows of a matrix two at a time, and counts how many chunks anybody still holds."""

    def __init__(self, matrix_LD, *, at_once=2):
        self.matrix_LD, self.at_once, self.held = matrix_LD, at_once, 0

    def label_vectors(self, label_rows):
        given = []
        for start in range(0, len(label_rows), self.at_once):
            chunk_ND = self.matrix_LD[label_rows[start : start + self.at_once]].clone()
            given.append(weakref.ref(chunk_ND))
            yield chunk_ND
            del chunk_ND
            self.held = max(self.held, sum(chunk() is not None for chunk in given))


@pytest.mark.parametrize("at_once", [1, 2, 7, 10])
def test_the_labels_vectors_are_filled_in_without_a_second_copy(at_once):
    head = InChunks(torch.randn(7, 3, generator=torch.Generator().manual_seed(0)), at_once=at_once)
    assert torch.equal(label_matrix(head, 7), head.matrix_LD)
    assert head.held <= 1


@pytest.mark.parametrize("given", [3, 6, 9])
def test_a_head_that_gives_too_few_or_too_many_vectors_is_named(given):
    class Wrong(InChunks):
        def label_vectors(self, label_rows):
            return super().label_vectors(np.arange(given))

    with pytest.raises(PluginError, match=f"gives {given} label vectors for 7 labels"):
        label_matrix(Wrong(torch.zeros(9, 3)), 7)
