"""Invariants: best first, ties by label id; never more hits than labels; every thread and place answers the same."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import xmc
from xmc.api import Hits
from xmc.data.dataset import load_dataset
from xmc.data.named import named_folder
from xmc.errors import ArtifactError, ConfigError, DataError, DeviceError, NonFiniteError, PluginError
from xmc.retrieve.layout import encoder_store
from xmc.retrieve.query_checks import MAX_K
from xmc.retrieve.retriever import Retriever

TEXTS = ["tender tram", "an ancient lemon in a bowl", "zebra"]


@pytest.fixture(scope="module")
def retriever(tiny_run):
    return Retriever.load(tiny_run, device="cpu")


def test_what_is_shown_of_it_is_short_whatever_it_holds(retriever, tiny_run):
    assert repr(retriever) == f"<Retriever of {tiny_run}: 60 labels, index exact>"
    assert repr(replace(retriever, opened=None)) == "<Retriever: 60 labels, index exact>"
    assert "labels=<LabelTable of 60 labels>, splits={'train': <QueryTable of 400 q" in repr(load_dataset("tiny"))
    assert repr(xmc.LabelEditor("runs/a")) == "<LabelEditor of runs/a>"
    assert repr(xmc.Client("http://127.0.0.1:1", token="secret", run="a")) == "<Client of a at http://127.0.0.1:1>"


def test_hits_are_those_of_a_sort_of_all_scores(retriever):
    from xmc.encode.encoder import embed_texts

    data = load_dataset("tiny")
    labels_LD = embed_texts(retriever.encoder, data.labels.texts, "label").double()
    for text, hits in zip(TEXTS, retriever.search(TEXTS, k=7), strict=True):
        scores_L = (labels_LD @ retriever.encode([text])[0].double()).tolist()
        best = sorted(range(len(scores_L)), key=lambda row: (-round(scores_L[row], 5), data.labels.ids[row]))[:7]
        assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6, 7]
        assert [hit.score for hit in hits] == pytest.approx([scores_L[row] for row in best], abs=1e-5)
        assert {hit.label_id for hit in hits if hit.score > scores_L[best[-1]] + 1e-4} <= {
            data.labels.ids[row] for row in best
        }
        assert all(hit.text == data.labels.texts[data.labels.ids.index(hit.label_id)] for hit in hits)


def test_a_label_is_found_by_its_own_text(retriever):
    data = load_dataset("tiny")
    assert [hits[0].label_id for hits in retriever.search(data.labels.texts, k=1)] == data.labels.ids


def test_labels_of_one_text_come_in_the_order_of_their_ids(tiny_run_copy, tmp_path):
    twins, ids = tmp_path / "twins", ["z", "é", "a", "L99", "B"]
    shutil.copytree(named_folder("tiny"), twins)
    labels = pq.read_table(twins / "labels.parquet").select(["label_id", "text"]).to_pylist()
    labels += [{"label_id": label_id, "text": "same words here"} for label_id in ids]
    pq.write_table(pa.Table.from_pylist(labels), twins / "labels.parquet")
    for backend in ("exact", "faiss.flat"):
        xmc.index_run(tiny_run_copy, settings=[f"data.name={twins}", f"index.name={backend}"], device="cpu")
        hits = Retriever.load(tiny_run_copy, device="cpu").search(["same words here"], k=5)[0]
        assert [hit.label_id for hit in hits] == sorted(ids)
        assert len({hit.score for hit in hits}) == 1


@pytest.mark.parametrize("k", [60, 61, MAX_K])
def test_more_than_all_labels_is_all_labels(retriever, k):
    (hits,) = retriever.search(["tender tram"], k=k)
    assert len(hits) == len({hit.label_id for hit in hits}) == 60
    assert all(np.isfinite(hit.score) for hit in hits)


@pytest.mark.parametrize("k", [0, -1, MAX_K + 1])
def test_a_k_that_cannot_be_is_an_error(retriever, k):
    with pytest.raises(ConfigError, match=rf"k must lie in 1\.\.10,000, got {k:,}"):
        retriever.search(["a"], k=k)


@pytest.mark.parametrize("k", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_a_k_of_numpy_is_a_k(retriever, k):
    assert retriever.search(["a"], k=k) == retriever.search(["a"], k=3)
    hits, table = retriever.hits(["a"], k=k), pa.table({"query_id": ["q"], "text": ["a"]})
    assert [hit.rank for hit in retriever.search_vectors(retriever.encode(["a"]), k=k)[0]] == [1, 2, 3]
    assert retriever.search_table(table, k=k) == retriever.search_table(table, k=3)
    assert retriever.index.search(retriever.encode(["a"]), k).label_rows.tolist() == hits.label_rows.tolist()


@pytest.mark.parametrize("k", ["3", None, 2.0, True, np.float64(2), np.True_])
def test_a_k_that_is_no_whole_number_is_an_error(retriever, k):
    with pytest.raises(ConfigError, match="k must be a whole number, got"):
        retriever.search(["a"], k=k)


def test_a_least_probability_that_is_no_number_is_an_error(retriever):
    with pytest.raises(ConfigError, match=r"min_probability must be a number, got '0\.5'"):
        retriever.search(["a"], min_probability="0.5")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("tender tram", r"texts must be a list of strings, got one string\. Write \[text\]\."),
        (b"tender tram", r"texts must be a list of strings, got bytes\. Write \[text\.decode\(\)\]"),
        ({"tender": "tram"}, r"texts must be a list of strings, got dict\. Write list\(texts\)"),
        ({"tender tram"}, r"texts must be a list of strings, got set\. Write list\(texts\)"),
        (["a", ""], "query 1 is an empty text"),
        (["a", " \n"], "query 1 is an empty text"),
        ([None], "query 0 is None"),
        ([3], "query 0 is 3"),
        (["a\ud800"], "query 0 is not valid Unicode"),
        (["a" * 1_000_001], r"query 0 has 1,000,001 characters; at most 1,000,000 are allowed"),
    ],
)
def test_a_query_that_is_no_text_is_an_error(retriever, texts, message):
    with pytest.raises(DataError, match=message):
        retriever.search(texts)


def test_no_queries_have_no_hits(retriever):
    assert retriever.search([]) == []
    assert retriever.rank_texts("tender tram", []) == []


def test_embeddings_can_be_searched_and_bad_ones_are_refused(retriever):
    queries_QD = retriever.encode(TEXTS)
    assert queries_QD.shape == (3, 32) and queries_QD.dtype == torch.float32 and not queries_QD.requires_grad
    hits = retriever.search_embeddings(queries_QD, k=4)
    named = [[retriever.labels.ids[row] for row in rows] for rows, _ in hits]
    assert named == [[hit.label_id for hit in each] for each in retriever.search(TEXTS, k=4)]
    with pytest.raises(DataError, match="query vectors have dimension 31, expected 32"):
        retriever.search_embeddings(queries_QD[:, 1:])
    with pytest.raises(NonFiniteError, match="query vectors hold NaN"):
        retriever.search_embeddings(queries_QD * float("nan"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            Hits(np.array([0, 2]), np.array([3, -1]), np.ones(2)),
            r"label row -1; there are 0 to 59\. A query with",
        ),
        (Hits(np.array([0, 1]), np.array([60]), np.ones(1)), "label row 60; there are 0 to 59"),
        (Hits(np.array([0]), np.array([], int), np.ones(0)), "0 queries of 1"),
        ((np.array([[3]]), np.ones((1, 1))), r"a tuple, wanted are Hits\. rank_hits"),
    ],
)
def test_what_an_index_answers_in_another_form_is_never_taken_for_a_label(retriever, answer, message):
    index = SimpleNamespace(search=lambda queries_QD, k: answer, report=retriever.index.report)
    with pytest.raises(PluginError, match=rf"index 'exact' answers {message}"):
        replace(retriever, index=index).search(["tram"], k=2)


def test_a_text_alone_and_among_others_has_the_same_answer(retriever):
    together = retriever.search(TEXTS, k=5)
    for text, hits in zip(TEXTS, together, strict=True):
        (alone,) = retriever.search([text], k=5)
        assert [hit.label_id for hit in alone] == [hit.label_id for hit in hits]
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in hits], abs=1e-6)


def test_eight_threads_get_the_same_answers(retriever):
    texts = load_dataset("tiny").test.texts
    batches = [texts[start : start + 5] for start in range(0, 100, 5)]
    expected = [retriever.search(batch, k=3) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(lambda batch: retriever.search(batch, k=3), batches)) == expected


def test_a_run_that_was_moved_still_answers(tiny_run, tmp_path, retriever):
    shutil.copytree(tiny_run, tmp_path / "elsewhere" / "run")
    assert Retriever.load(tmp_path / "elsewhere" / "run").search(TEXTS, k=3) == retriever.search(TEXTS, k=3)


def test_an_index_of_another_encoder_is_refused(tiny_run_copy):
    store = encoder_store(tiny_run_copy)
    old = store.current()
    with store.new_version(facts={**old.manifest.facts, "retrained": True}) as folder:
        shutil.copytree(old.folder, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"built with another encoder .* Build it again: xmc index --run"):
        Retriever.load(tiny_run_copy)
    xmc.index_run(tiny_run_copy)
    assert Retriever.load(tiny_run_copy).search(TEXTS, k=1)


def test_what_is_not_a_run_is_an_error(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere is not a run folder .*: xmc train --data DATA --out .*nowhere"):
        Retriever.load(tmp_path / "nowhere")
    with pytest.raises(
        ArtifactError, match=r"is not a run folder \(it has no config\.toml\)\. Is this the right folder"
    ):
        Retriever.load(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_an_error(tiny_run):
    with pytest.raises(DeviceError, match="cuda"):
        Retriever.load(tiny_run, device="cuda")
    with pytest.raises(DeviceError, match="cuda"):
        xmc.index_run(tiny_run, device="cuda")


def test_an_unknown_device_is_an_error(tiny_run):
    with pytest.raises((DeviceError, ConfigError), match="gpu"):
        Retriever.load(tiny_run, device="gpu")
    for verb in (Retriever.load, xmc.index_run, partial(xmc.predict_run, shards="none", out="none")):
        for device in (None, torch.device("cpu")):
            with pytest.raises(ConfigError, match=r"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got "):
                verb(tiny_run, device=device)


def test_the_report_says_what_the_index_is(retriever):
    report = retriever.report
    assert (report.backend, report.labels, report.dimension, report.exact) == ("exact", 60, 32, True)
    assert report.device_used == "cpu" and report.memory_bytes >= 60 * 32 * 4
