"""Invariants: many texts in slices are the same as one by one; the written table has the schema and the hits."""

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from xmc.data.dataset import load_dataset
from xmc.data.schemas import schema_of
from xmc.data.tables import LabelTable
from xmc.retrieve import batch
from xmc.retrieve.batch import concatenate_hits, hits_to_arrow, search_texts, write_hits
from xmc.retrieve.retriever import Retriever
from xmc.values import Hits

ragged = st.lists(st.lists(st.tuples(st.integers(0, 4), st.floats(-2, 2, width=32)), max_size=3), max_size=5)


def to_hits(rows):
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    flat = [pair for row in rows for pair in row]
    return Hits(
        offsets, np.array([label for label, _ in flat], np.int64), np.array([score for _, score in flat], np.float32)
    )


def to_lists(hits):
    return [list(zip(labels.tolist(), scores.tolist(), strict=True)) for labels, scores in hits]


@given(st.lists(ragged, max_size=3))
def test_concatenating_keeps_every_query_with_its_hits(parts):
    assert to_lists(concatenate_hits([to_hits(part) for part in parts])) == [row for part in parts for row in part]


@given(ragged)
def test_the_table_has_the_hits_by_label_id(rows):
    labels = LabelTable(list("vwxyz"), ["text"] * 5)
    ids = [f"q{row}" for row in range(len(rows))]
    table = hits_to_arrow(ids, to_hits(rows), labels)
    assert table.schema.equals(schema_of("hits", without=["probabilities", "status"]))
    for row, query_id, hits in zip(table.to_pylist(), ids, rows, strict=True):
        assert row["query_id"] == query_id
        assert row["label_ids"] == ["vwxyz"[label] for label, _ in hits]
        assert row["scores"] == [score for _, score in hits]


def test_slices_have_no_seam(tiny_run, tmp_path, monkeypatch):
    retriever = Retriever.load(tiny_run)
    texts = load_dataset("tiny").test.texts[:25]
    whole = search_texts(retriever, texts, k=3)
    heard = []
    monkeypatch.setattr(batch, "CHUNK", 10)
    sliced = search_texts(retriever, texts, k=3, on_chunk=heard.append)
    assert heard == [10, 10, 5]
    assert sliced.label_rows.tolist() == whole.label_rows.tolist()
    np.testing.assert_allclose(sliced.scores, whole.scores, atol=1e-6)
    assert len(search_texts(retriever, [], k=3)) == 0

    write_hits(tmp_path / "new" / "hits.parquet", [str(row) for row in range(25)], whole, retriever.labels)
    written = pq.read_table(tmp_path / "new" / "hits.parquet").to_pylist()
    for row, hits in zip(written, retriever.search(texts, k=3), strict=True):
        assert row["label_ids"] == [hit.label_id for hit in hits]
