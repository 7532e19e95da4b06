"""Invariants: after an edit each label has the vector that it had, or none; vectors that all stay are not copied."""

import pytest
import torch

from xmc.encode.csr import csr_tensor
from xmc.retrieve.edit_vectors import with_edits
from xmc.retrieve.label_edits import Edit, LabelEdits

VECTORS = torch.arange(6.0).reshape(3, 2)
SPARSE = csr_tensor(torch.tensor([0, 2, 4, 6]), torch.tensor([0, 1] * 3), torch.arange(6.0), (3, 2))


def edits_with(rows, vectors_NE=VECTORS):
    return LabelEdits({label_id: Edit("text", row) for label_id, row in rows.items()}, vectors_NE, "encoder", "sha")


def vectors_of(edits):
    dense_NE = None if edits.vectors_NE is None else edits.vectors_NE.to_dense()
    return {i: dense_NE[edit.row].tolist() for i, edit in edits.edits.items() if edit.row >= 0}


@pytest.mark.parametrize("vectors_NE", [VECTORS, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("rows", [{"a": 0, "b": 1, "c": 2}, {"a": 2, "b": -1, "c": 0}, {"a": -1}])
@pytest.mark.parametrize("new", [{}, {"d": Edit(None)}, {"a": Edit("other")}, {"a": Edit(None), "e": Edit("more")}])
def test_labels_that_are_not_edited_keep_their_vectors(rows, new, vectors_NE):
    before = edits_with(rows, vectors_NE)
    after = with_edits(before, new, "encoder")
    assert vectors_of(after) == {i: vector for i, vector in vectors_of(before).items() if i not in new}
    assert {i: edit.text for i, edit in after.edits.items()} == {
        **dict.fromkeys(rows, "text"),
        **{i: edit.text for i, edit in new.items()},
    }
    assert after.sha256 == "" and after.first == {}


def test_vectors_of_another_encoder_are_dropped():
    after = with_edits(edits_with({"a": 0, "b": 1, "c": 2}), {}, "another")
    assert vectors_of(after) == {} and after.vectors_NE is None and after.encoder_sha256 == "another"


def test_vectors_that_all_stay_are_not_copied():
    before = edits_with({"a": 0, "b": 1, "c": 2})
    for new in ({}, {"d": Edit(None)}):
        assert with_edits(before, new, "encoder").vectors_NE.data_ptr() == VECTORS.data_ptr()
    assert torch.equal(with_edits(before, {"b": Edit(None)}, "encoder").vectors_NE, VECTORS[[0, 2]])
