"""Invariant: no label of a cell scores above the cell's bound, and the bound is reached where it can be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc_index_faiss.cell_bounds import CellBounds
from xmc_index_faiss.ivf import Ivf


def bounds_of_one_cell(vectors_ND):
    return Ivf(nlist=1).build([vectors_ND], similarity="dot", device="cpu").prover.bounds


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 20),
    dimension=st.integers(1, 12),
    kind=st.sampled_from(["random", "whole", "unit", "copies", "opposite", "far", "zero"]),
    scale=st.sampled_from([1e-12, 1.0, 1e12]),
)
def test_no_label_scores_above_the_bound(seed, count, dimension, kind, scale):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, dimension, generator=generator)
    queries_QD = torch.cat((torch.randn(5, dimension, generator=generator), vectors[:3], torch.zeros(1, dimension)))
    if kind == "whole":
        vectors = vectors.round()
    if kind == "unit":
        vectors = torch.nn.functional.normalize(vectors, dim=1)
    if kind == "copies":
        vectors = vectors[:1].repeat(count, 1)
    if kind == "opposite":
        vectors = torch.cat((vectors, -vectors))
    if kind == "far":
        vectors = vectors + 1e4
    if kind == "zero":
        vectors = vectors * 0
    bounds = bounds_of_one_cell(vectors * scale)
    true_QN = queries_QD.double() @ (vectors * scale).double().T
    assert (true_QN.amax(1).numpy() <= bounds.best_scores(queries_QD.numpy())[:, 0]).all()


@pytest.mark.parametrize("length", [1.0, 1e-6, 1e6])
def test_the_bound_is_no_excuse(length):
    """One label: its score. Two vectors of one length around the centre: that of the nearer one."""
    vector = torch.tensor([[0.6, 0.8]])
    assert bounds_of_one_cell(vector * length).best_scores(vector.numpy()).item() == pytest.approx(length)
    angles = torch.tensor([-0.3, 0.3])
    members = torch.stack((angles.cos(), angles.sin()), dim=1)
    for angle in (0.0, 0.2, 0.5, 1.5, 3.0):
        query = np.array([[np.cos(angle), np.sin(angle)]], dtype=np.float32)
        best = bounds_of_one_cell(members * length).best_scores(query).item()
        assert best / length == pytest.approx(np.cos(angle - 0.3), abs=1e-5)


def test_an_empty_cell_has_nothing_to_offer():
    bounds = bounds_of_one_cell(torch.ones(3, 4))
    empty = replace(bounds, norms_C=np.array([-1.0]))
    assert empty.best_scores(np.ones((2, 4), np.float32)).tolist() == [[-np.inf], [-np.inf]]


def test_arrays_and_back():
    bounds = bounds_of_one_cell(torch.randn(9, 4))
    arrays = bounds.to_arrays()
    again = CellBounds(**arrays)
    assert all(np.array_equal(array, again.to_arrays()[name]) for name, array in arrays.items())
    assert {name: (str(array.dtype), array.shape) for name, array in arrays.items()} == CellBounds.kinds(1, 4)
