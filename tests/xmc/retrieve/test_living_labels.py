"""Invariants: base with edits is the sorted table of the resulting labels; the row maps say where each label went;
rows of vectors come back as they were, dense or CSR; given vectors stand at their places in the stream."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmc.data.tables import LabelTable
from xmc.encode.csr import csr_tensor, take_rows
from xmc.errors import ArtifactError
from xmc.retrieve.label_edits import Edit, LabelEdits
from xmc.retrieve.living_labels import live_labels
from xmc.retrieve.own_vectors import OwnVectors
from xmc.retrieve.row_file import load_rows, row_hashes, save_rows

ids = st.text("abcé", min_size=1, max_size=2)
tables = st.dictionaries(ids, st.sampled_from(["x", "y"]), max_size=8)
edit_sets = st.dictionaries(ids, st.sampled_from(["x", "y", None]), max_size=8)


@given(tables, edit_sets)
def test_the_label_set_is_the_sorted_table_of_what_results(base, edits):
    table = LabelTable(sorted(base), [base[label_id] for label_id in sorted(base)])
    living = live_labels(table, {}, LabelEdits({label_id: Edit(text) for label_id, text in edits.items()}))
    wanted = {label_id: text for label_id, text in {**base, **edits}.items() if text is not None}
    labels = living.labels if living else table
    assert list(zip(labels.ids, labels.texts, strict=True)) == sorted(wanted.items())
    assert LabelEdits({i: Edit(text) for i, text in edits.items()}).applied(table) == LabelTable(
        labels.ids, labels.texts
    )
    if living is None:
        return
    for row, new_row in enumerate(living.base_rows_B.tolist()):
        stays = wanted.get(table.ids[row]) == table.texts[row]
        assert (labels.ids[new_row] == table.ids[row]) if stays else new_row == -1
    assert living.added.ids == [i for i in sorted(wanted) if base.get(i) != wanted[i]]
    assert sorted([*living.base_rows_B[living.base_rows_B >= 0], *living.added_rows_N]) == list(range(len(labels)))


def test_the_same_text_with_another_given_vector_is_another_label():
    table = LabelTable(["a", "b"], ["x", "y"])
    own = LabelEdits({"a": Edit("x", 0, "new")}, torch.eye(2))
    assert live_labels(table, {"a": "new"}, own) is None
    assert live_labels(table, {"a": "old"}, own).added.ids == ["a"]
    assert live_labels(table, {}, own).base_rows_B.tolist() == [-1, 1]
    assert live_labels(table, {"a": "old"}, LabelEdits({"a": Edit("x")})).added.ids == ["a"]


def test_vectors_given_for_another_encoder_are_refused():
    edits = LabelEdits({"a": Edit("x", 0, "sha")}, torch.eye(2), "encoder 1")
    edits.require_encoder("encoder 1")
    with pytest.raises(ArtifactError, match="1 label, 'a', has vectors that were given for another encoder"):
        edits.require_encoder("encoder 2")
    LabelEdits({"a": Edit("x", 0)}, torch.eye(2), "encoder 1").require_encoder(
        "encoder 2"
    )  # made from texts: made anew


def sparse(dense):
    found = dense.to_sparse()
    counts = torch.bincount(found.indices()[0], minlength=len(dense))
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return csr_tensor(offsets, found.indices()[1], found.values(), tuple(dense.shape))


@given(st.integers(0, 10**6), st.integers(1, 6), st.lists(st.integers(0, 5), max_size=8))
def test_rows_are_taken_and_kept_as_they_are(seed, width, rows):
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randint(-1, 2, (6, width), generator=generator).float()
    rows = torch.tensor(rows, dtype=torch.int64)
    assert torch.equal(take_rows(sparse(dense), rows).to_dense(), dense[rows])
    assert torch.equal(take_rows(dense, rows), dense[rows])


@pytest.mark.parametrize("form", [lambda dense: dense, sparse], ids=["dense", "csr"])
def test_a_file_of_rows_gives_them_back(tmp_path, form):
    dense = torch.tensor([[0.0, 1.5], [0.0, 0.0], [-2.0, 0.0]])
    save_rows(tmp_path / "rows.safetensors", form(dense))
    loaded = load_rows(tmp_path / "rows.safetensors")
    assert loaded.layout == form(dense).layout and torch.equal(loaded.to_dense(), dense)
    assert row_hashes(loaded) == row_hashes(dense) and len(set(row_hashes(dense))) == 3
    save_rows(tmp_path / "none.safetensors", None)
    assert load_rows(tmp_path / "none.safetensors") is None


@given(st.lists(st.booleans(), max_size=9), st.integers(1, 4), st.booleans())
def test_given_vectors_stand_at_their_places(is_own, chunk, is_sparse):
    labels = LabelTable([f"{row:02d}" for row in range(len(is_own))], ["text"] * len(is_own))
    whole = torch.arange(len(is_own), dtype=torch.float32).reshape(-1, 1) + 1
    form = sparse if is_sparse else lambda dense: dense
    rows = {labels.ids[row]: place for place, row in enumerate(np.flatnonzero(is_own).tolist())}
    own = OwnVectors(rows, form(whole[torch.tensor(is_own, dtype=torch.bool)]) if any(is_own) else whole)

    def made(others):
        vectors = whole[torch.tensor([int(label_id) for label_id in others.ids], dtype=torch.int64)]
        return iter([form(part) for part in vectors.split(chunk)] if len(vectors) else []), None

    chunks, _ = own.weave(labels, made)
    parts = [part.to_dense() for part in chunks]
    assert torch.equal(torch.cat(parts) if parts else whole, whole)
